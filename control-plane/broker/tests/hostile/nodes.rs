//! An enrolled node that has turned hostile.

use crate::world::{SOON, World};
use noderr_broker::Broker as _;
use noderr_protocol::{DesiredState, Down, NodeId, UpKind};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, LastWill, Packet, PubAck, PubRel, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use std::time::{Duration, Instant};

fn me() -> NodeId {
    NodeId::from_bytes([0x11; 32])
}

fn victim() -> NodeId {
    NodeId::from_bytes([0x22; 32])
}

fn desired(version: u64) -> Down {
    Down::DesiredState(DesiredState { version, ..DesiredState::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_publishes_nowhere_but_under_its_own_up() {
    let world = World::begin().await;
    let own = world.topics.up(&me(), UpKind::Heartbeat);
    let (mine, theirs) = (me().to_string(), victim().to_string());
    for topic in [
        world.topics.up(&victim(), UpKind::Heartbeat),
        own.replace("/up/", "/down/"),
        own.to_uppercase(),
        format!("{own}/more"),
        format!("/tenants/{mine}/up/"),
        format!("/tenants/{mine}/../{theirs}/up/heartbeat"),
        format!("tenants/{mine}/up/heartbeat"),
        format!("/others/{mine}/up/heartbeat"),
        "$SYS/broker/uptime".to_owned(),
        "/tenants/router/probe".to_owned(),
        "é".to_owned(),
        "/".to_owned(),
    ] {
        let mut client = world.connected(me()).await;
        client.publish(&topic, QoS::AtLeastOnce, vec![1]).await;
        client.is_hung_up_on().await;
    }
    // A publication of a kind that a later build may send is acknowledged, so that it does not come again,
    // and then dropped.
    let mut client = world.connected(me()).await;
    client.publish(&format!("/tenants/{mine}/up/nonsense"), QoS::AtLeastOnce, vec![1]).await;
    assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
    assert!(
        world.heard_of(&me()).is_empty() && world.heard_of(&victim()).is_empty(),
        "something got through"
    );
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hears_nothing_but_its_own_down() {
    let world = World::begin().await;
    let mut client = world.connected(me()).await;
    let theirs = world.topics.down_filter(&victim());
    for filter in [
        theirs.as_str(),
        "#",
        "/#",
        "+/+/+/+",
        "/tenants/+/down/#",
        "/tenants/#",
        "$share/group//tenants/+/down/#",
        "$SYS/#",
        "/tenants/+/up/#",
        "/tenants/router/probe",
        "",
    ] {
        client.send(&Packet::Subscribe(Subscribe::new(filter, QoS::AtLeastOnce))).await;
        let Some(Packet::SubAck(ack)) = client.next().await else { panic!("no answer to {filter}") };
        assert_eq!(ack.return_codes, [SubscribeReasonCode::Failure], "{filter}");
    }
    world.send(&victim(), &desired(1)).await;
    // The hostile node's own messages still come, and nothing came before them.
    let own = world.topics.down_filter(&me());
    client.send(&Packet::Subscribe(Subscribe::new(own, QoS::AtLeastOnce))).await;
    assert!(matches!(client.next().await, Some(Packet::SubAck(_))));
    world.broker.send(&me(), &desired(2)).await.unwrap();
    let Some(Packet::Publish(publish)) = client.next().await else { panic!("its own message did not come") };
    assert!(publish.topic.contains(&me().to_string()));
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_connect_as_another_or_leave_a_will() {
    let world = World::begin().await;
    let mut kept = world.connected(victim()).await;
    let as_other = Connect::new(victim().to_string());
    let mut with_will = Connect::new(me().to_string());
    with_will.last_will = Some(LastWill::new("/tenants/x", vec![1], QoS::AtMostOnce, true));
    for connect in
        [as_other, with_will, Connect::new(""), Connect::new("bad/id"), Connect::new("a".repeat(60_000))]
    {
        let mut client = world.dial(me()).await;
        client.send(&Packet::Connect(connect)).await;
        client.is_hung_up_on().await;
    }
    // The victim's session was not touched.
    kept.send(&Packet::PingReq).await;
    assert!(matches!(kept.next().await, Some(Packet::PingResp)));
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_must_not_send_ends_its_session() {
    let world = World::begin().await;
    let own = world.topics.up(&me(), UpKind::Heartbeat);
    let mut retained = Publish::new(own.as_str(), QoS::AtMostOnce, vec![1]);
    retained.retain = true;
    let mut exactly_once = Publish::new(own.as_str(), QoS::ExactlyOnce, vec![1]);
    exactly_once.pkid = 1;
    let mut many =
        Subscribe::new_many((0..10_000).map(|n| SubscribeFilter::new(format!("f{n}"), QoS::AtMostOnce)));
    many.pkid = 1;
    for packet in [
        Packet::Publish(retained),
        Packet::Publish(exactly_once),
        Packet::Publish(Publish::new(own.as_str(), QoS::AtMostOnce, vec![0; 1 << 20])),
        Packet::PubAck(PubAck::new(1)),
        Packet::PubRel(PubRel::new(1)),
        Packet::Connect(Connect::new(me().to_string())),
        Packet::PingResp,
        Packet::Subscribe(many),
    ] {
        let mut client = world.connected(me()).await;
        client.send(&packet).await;
        client.is_hung_up_on().await;
    }
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscriptions_one_by_one_do_no_harm() {
    let world = World::begin().await;
    let mut client = world.connected(me()).await;
    for n in 0..10_000 {
        client.send(&Packet::Subscribe(Subscribe::new(format!("filter/{n}"), QoS::AtLeastOnce))).await;
        assert!(matches!(client.next().await, Some(Packet::SubAck(_))));
    }
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bytes_end_its_session_and_nothing_else() {
    let world = World::begin().await;
    for bytes in [
        &[0x00, 0x00][..],
        &[0xf0, 0x00],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        &[0x32, 0x02, 0x00, 0x05],
        &[0x82, 0x02, 0x00, 0x00],
        &[0x62, 0x02, 0x00, 0x01],
        &[0x36, 0x04, 0x00, 0x01, b'a', 0x00],
    ] {
        let mut client = world.connected(me()).await;
        client.send_raw(bytes).await;
        client.is_hung_up_on().await;
    }
    // Random bytes: some make the broker wait for a rest that never comes, none may do harm.
    for _ in 0..200 {
        let mut client = world.connected(NodeId::from_bytes(rand::random())).await;
        let len = rand::random_range(1..200);
        let noise: Vec<u8> = (0..len).map(|_| rand::random()).collect();
        client.send_raw(&noise).await;
    }
    world.honest_node_is_served().await;
}

fn publications(topic: &str, count: usize, len: usize) -> bytes::BytesMut {
    let mut bytes = bytes::BytesMut::new();
    for _ in 0..count {
        Packet::Publish(Publish::new(topic, QoS::AtMostOnce, vec![7; len]))
            .write(&mut bytes, 1 << 20)
            .unwrap();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_and_a_goodbye_leave_the_broker_well() {
    let world = World::begin().await;
    let own = world.topics.up(&me(), UpKind::Records);
    let mut client = world.connected(me()).await;
    let mut flood = publications(&own, 500, 100);
    Packet::Disconnect.write(&mut flood, 16).unwrap();
    client.send_raw(&flood).await;
    client.is_hung_up_on().await;
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_is_slowed_down_and_the_others_are_not() {
    let world = World::begin().await;
    let own = world.topics.up(&me(), UpKind::Heartbeat);
    let mut client = world.connected(me()).await;
    let flood = publications(&own, 1000, 10);
    let (slowed, held_back) = tokio::sync::oneshot::channel();
    let flooding = tokio::spawn(async move {
        // A flood that the broker does not slow down is sent at once, whatever its length.
        while tokio::time::timeout(Duration::from_millis(500), client.send_raw(&flood)).await.is_ok() {}
        slowed.send(()).unwrap();
        while client.send_raw(&flood).await {}
    });
    tokio::time::timeout(SOON, held_back).await.expect("the flood is slowed down").unwrap();
    let since = Instant::now();
    world.honest_node_is_served().await;
    assert!(since.elapsed() < Duration::from_secs(5), "an honest node waited {:?}", since.elapsed());
    flooding.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_one_that_does_not_read_is_bounded() {
    let world = World::begin().await;
    let mut client = world.connected(me()).await;
    let own = world.topics.down_filter(&me());
    client.send(&Packet::Subscribe(Subscribe::new(own, QoS::AtLeastOnce))).await;
    assert!(matches!(client.next().await, Some(Packet::SubAck(_))));
    // The client neither reads nor acknowledges; the broker keeps no more than a bounded number of messages
    // for it.
    for version in 0..5000 {
        world.broker.send(&me(), &desired(version)).await.ok();
    }
    let mut heard = 0;
    while let Ok(Some(Packet::Publish(_))) = tokio::time::timeout(Duration::from_secs(1), client.next()).await
    {
        heard += 1;
    }
    assert!(heard <= 200, "{heard} deliveries were kept for a node that acknowledged none");
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_takes_over_and_a_revoked_one_is_ended_at_once() {
    let world = World::begin().await;
    let mut old = world.connected(me()).await;
    let mut new = world.connected(me()).await;
    old.is_hung_up_on().await;
    new.send(&Packet::PingReq).await;
    assert!(matches!(new.next().await, Some(Packet::PingResp)));

    let since = Instant::now();
    world.revoke(me());
    new.is_hung_up_on().await;
    assert!(since.elapsed() < Duration::from_secs(1));
    let mut again = world.dial(me()).await;
    again.send(&Packet::Connect(Connect::new(me().to_string()))).await;
    let Some(Packet::ConnAck(ack)) = again.next().await else { panic!("no answer") };
    assert_eq!(ack.code, rumqttc::mqttbytes::v4::ConnectReturnCode::NotAuthorized);
    again.is_hung_up_on().await;
    assert!(since.elapsed() < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_begins_session_after_session_is_not_asked_in() {
    let world = World::begin().await;
    let mut welcomed = 0;
    for _ in 0..100 {
        let mut client = world.dial(me()).await;
        client.send(&Packet::Connect(Connect::new(me().to_string()))).await;
        welcomed += usize::from(matches!(client.next().await, Some(Packet::ConnAck(_))));
    }
    assert!((20..60).contains(&welcomed), "{welcomed} of 100 sessions in a row were begun");
    world.honest_node_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_certificate() {
    let world = World::begin().await;
    let client = world.try_dial_at(me(), &world, Duration::from_secs(2)).await.unwrap();
    let mut client = world.welcomed(me(), client).await;
    let since = Instant::now();
    client.is_hung_up_on().await;
    assert!(since.elapsed() > Duration::from_millis(500), "it was hung up on for another reason");
}
