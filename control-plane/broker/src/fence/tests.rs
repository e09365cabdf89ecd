//! The fence, packet by packet.

use super::*;
use crate::Rates;
use noderr_front::Rate;
use rumqttc::mqttbytes::v4::Connect;

const NODE: NodeId = NodeId::from_bytes([7; 32]);

fn fence(now: Instant) -> Fence {
    let rates = Rates {
        packets: Rate { per_second: 100, burst: 100 },
        bytes: Rate { per_second: 1000, burst: 5000 },
        beside_records: Rate { per_second: 1, burst: 10 },
        ..Rates::default()
    };
    let connect = Packet::Connect(Connect::new(NODE.to_string()));
    let allowances = Allowances::new(rates, now);
    Fence::connect(NODE, Topics::default(), FenceLimits::default(), allowances, connect).unwrap().0
}

fn publish(fence: &mut Fence, kind: UpKind, len: usize, times: usize) {
    for _ in 0..times {
        let topic = Topics::default().up(&NODE, kind);
        fence.packet(Packet::Publish(Publish::new(topic, QoS::AtMostOnce, vec![0; len]))).unwrap();
    }
}

#[test]
fn each_bound_holds_on_its_own_and_time_heals_it() {
    let now = Instant::now();
    for (kind, len, within, beyond, wait) in [
        (UpKind::Records, 1, 100, 50, Duration::from_millis(500)),
        (UpKind::Records, 1000, 5, 3, Duration::from_secs(3)),
        (UpKind::Heartbeat, 1, 10, 7, Duration::from_secs(7)),
    ] {
        let mut fence = fence(now);
        publish(&mut fence, kind, len, within);
        assert_eq!(fence.delay(now), None, "{kind:?} of {len} bytes");
        publish(&mut fence, kind, len, beyond);
        assert_eq!(fence.delay(now), Some(wait), "{kind:?} of {len} bytes");
        assert_eq!(fence.delay(now + wait), None, "{kind:?} of {len} bytes");
    }
}

#[test]
fn what_a_newer_node_says_is_answered_and_passed_over_and_costs_it_the_same() {
    let now = Instant::now();
    let mut fence = fence(now);
    let topic = format!("/tenants/{NODE}/up/dreams");
    for _ in 0..20 {
        let mut publish = Publish::new(&topic, QoS::AtLeastOnce, vec![1]);
        publish.pkid = 7;
        let step = fence.packet(Packet::Publish(publish)).unwrap();
        assert!(matches!(step, Step::Unheard { reply: Some(Packet::PubAck(ack)) } if ack.pkid == 7));
    }
    assert!(fence.delay(now).is_some());
    for foreign in ["/tenants/{}/up/a/b", "/tenants/{}/up/", "/tenants/{}/down/dreams", "/tenants/{}/up/A#"] {
        let topic = foreign.replace("{}", &NODE.to_string());
        let publish = Publish::new(topic, QoS::AtMostOnce, vec![1]);
        assert_eq!(fence.packet(Packet::Publish(publish)).unwrap_err(), Violation::Topic, "{foreign}");
    }
}

#[test]
fn a_session_gives_up_no_more_filters_at_once_than_it_may_hold() {
    let unsubscribe = |count| {
        let mut unsubscribe = rumqttc::mqttbytes::v4::Unsubscribe::new("x");
        unsubscribe.topics = vec![String::new(); count];
        Packet::Unsubscribe(unsubscribe)
    };
    let mut fence = fence(Instant::now());
    let most = FenceLimits::default().filters;
    assert!(matches!(fence.packet(unsubscribe(most)), Ok(Step::Reply(Packet::UnsubAck(_)))));
    assert_eq!(fence.packet(unsubscribe(most + 1)).unwrap_err(), Violation::Filters);
}

#[test]
fn marks_need_no_answer_and_are_taken_however_many_answers_are_missing() {
    let mut fence = fence(Instant::now());
    let mut subscribe = Subscribe::new(Topics::default().down_filter(&NODE), QoS::AtLeastOnce);
    subscribe.pkid = 1;
    fence.packet(Packet::Subscribe(subscribe)).unwrap();
    let mut unanswered = 0;
    while fence.takes(DownKind::DesiredState) {
        fence.deliver(DownKind::DesiredState, Bytes::new());
        unanswered += 1;
    }
    assert_eq!(unanswered, FenceLimits::default().in_flight);
    assert!(fence.takes(DownKind::HighWaterMarks));
    let marks = fence.deliver(DownKind::HighWaterMarks, Bytes::new());
    assert!(matches!(marks, Packet::Publish(marks) if marks.qos == QoS::AtMostOnce && marks.pkid == 0));
    fence.packet(Packet::PubAck(PubAck::new(1))).unwrap();
    assert!(fence.takes(DownKind::DesiredState));
}
