//! The fence: what one node may send and hear, a pure state machine from packets to steps. No socket, no
//! clock of its own.
//!
//! The node is the node that the certificate names. A node publishes under its own `up/` and hears its own
//! `down/`; wills,
//! retained messages, QoS 2, wildcards beyond `down/#`, shared subscriptions and `$SYS` do not exist here.

use crate::allowance::Allowances;
use bytes::Bytes;
use noderr_protocol::{DownKind, NodeId, Topics, UpKind};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bounds on one session.
#[derive(Debug, Clone, Copy)]
pub struct FenceLimits {
    /// Filters a session may hold.
    pub filters: usize,
    /// Deliveries that may wait for the node's acknowledgement.
    pub in_flight: usize,
    /// The longest keep-alive that a client may ask for.
    pub keep_alive: Duration,
}

impl Default for FenceLimits {
    fn default() -> Self {
        Self { filters: 16, in_flight: 64, keep_alive: Duration::from_secs(120) }
    }
}

/// What to do about a packet.
#[derive(Debug)]
pub enum Step {
    /// Send this packet.
    Reply(Packet),
    /// Hand a publication to ingest, then send the reply, if there is one.
    Ingest {
        /// The topic's last level.
        kind: UpKind,
        /// The envelope.
        payload: Bytes,
        /// PUBACK for QoS 1.
        reply: Option<Packet>,
    },
    /// Count a publication of a kind that this build does not know, as a newer node may send, then send the
    /// reply.
    Unheard {
        /// PUBACK for QoS 1.
        reply: Option<Packet>,
    },
    /// Nothing.
    Nothing,
    /// End the session: the client sent DISCONNECT.
    Goodbye,
}

/// What a node must not do; each violation ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The first packet was not CONNECT.
    #[error("first packet is not CONNECT")]
    NotConnect,
    /// A second CONNECT, or a packet that only servers send.
    #[error("packet out of place")]
    OutOfPlace,
    /// The client id is not the certificate's node.
    #[error("client id is not the node id")]
    ClientId,
    /// A will.
    #[error("wills are not allowed")]
    Will,
    /// A retained message.
    #[error("retained messages are not allowed")]
    Retained,
    /// QoS 2.
    #[error("QoS 2 is not allowed")]
    ExactlyOnce,
    /// A topic that is not the node's own `up/`.
    #[error("topic is not the node's own")]
    Topic,
    /// Too many filters.
    #[error("too many filters")]
    Filters,
    /// An acknowledgement of nothing.
    #[error("unsolicited PUBACK")]
    UnsolicitedAck,
}

/// One session's rules and state.
#[derive(Debug)]
pub struct Fence {
    node: NodeId,
    topics: Topics,
    limits: FenceLimits,
    hears_all: bool,
    hears: Vec<DownKind>,
    next_packet_id: u16,
    in_flight: VecDeque<u16>,
    allowances: Allowances,
    keep_alive: Duration,
}

impl Fence {
    /// Reads the CONNECT of a client whose certificate names `node`.
    pub fn connect(
        node: NodeId,
        topics: Topics,
        limits: FenceLimits,
        allowances: Allowances,
        first: Packet,
    ) -> Result<(Self, Packet), Violation> {
        let Packet::Connect(connect) = first else { return Err(Violation::NotConnect) };
        if connect.client_id != node.to_string() {
            return Err(Violation::ClientId);
        }
        if connect.last_will.is_some() {
            return Err(Violation::Will);
        }
        let keep_alive = match Duration::from_secs(connect.keep_alive.into()) {
            Duration::ZERO => limits.keep_alive,
            wished => wished.min(limits.keep_alive),
        };
        let fence = Self {
            node,
            topics,
            limits,
            hears_all: false,
            hears: Vec::new(),
            next_packet_id: 1,
            in_flight: VecDeque::new(),
            allowances,
            keep_alive,
        };
        // No session outlives its connection here: only the spool and the database are durable.
        Ok((fence, Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))))
    }

    /// Silence after which the session is dead: one and a half keep-alives, as the standard says.
    pub fn patience(&self) -> Duration {
        self.keep_alive.mul_f32(1.5)
    }

    /// How long reading must wait before the next packet may be taken.
    pub fn delay(&self, now: Instant) -> Option<Duration> {
        self.allowances.delay(now)
    }

    /// Judges one packet.
    pub fn packet(&mut self, packet: Packet) -> Result<Step, Violation> {
        self.allowances.packet();
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe).map(Step::Reply),
            // Each filter costs a parse: no more at once than a session may hold.
            Packet::Unsubscribe(unsubscribe) if unsubscribe.topics.len() > self.limits.filters => {
                Err(Violation::Filters)
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.topics {
                    match self.filter(filter) {
                        Some(Filter::All) => self.hears_all = false,
                        Some(Filter::One(kind)) => self.hears.retain(|heard| *heard != kind),
                        None => {}
                    }
                }
                Ok(Step::Reply(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))))
            }
            Packet::PubAck(ack) => {
                // Deliveries are acknowledged in their order, as the standard demands for QoS 1.
                if self.in_flight.front() == Some(&ack.pkid) {
                    self.in_flight.pop_front();
                    Ok(Step::Nothing)
                } else {
                    Err(Violation::UnsolicitedAck)
                }
            }
            Packet::PingReq => Ok(Step::Reply(Packet::PingResp)),
            Packet::Disconnect => Ok(Step::Goodbye),
            _ => Err(Violation::OutOfPlace),
        }
    }

    /// Whether a delivery of this kind would be taken now.
    pub fn takes(&self, kind: DownKind) -> bool {
        let room = !kind.wants_acknowledgement() || self.in_flight.len() < self.limits.in_flight;
        room && (self.hears_all || self.hears.contains(&kind))
    }

    /// Wraps a delivery in a packet; call only if [`Self::takes`] allows this kind now.
    pub fn deliver(&mut self, kind: DownKind, payload: Bytes) -> Packet {
        let topic = self.topics.down(&self.node, kind);
        if !kind.wants_acknowledgement() {
            return Packet::Publish(Publish::from_bytes(topic, QoS::AtMostOnce, payload));
        }
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.checked_add(1).unwrap_or(1);
        self.in_flight.push_back(packet_id);
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
        publish.pkid = packet_id;
        Packet::Publish(publish)
    }

    fn publish(&mut self, publish: Publish) -> Result<Step, Violation> {
        if publish.retain {
            return Err(Violation::Retained);
        }
        let reply = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(publish.pkid))),
            QoS::ExactlyOnce => return Err(Violation::ExactlyOnce),
        };
        if self.topics.up_of(&publish.topic) != Some(self.node) {
            return Err(Violation::Topic);
        }
        let Some((_, kind)) = self.topics.parse_up(&publish.topic) else {
            self.allowances.publication(publish.payload.len(), false);
            return Ok(Step::Unheard { reply });
        };
        self.allowances.publication(publish.payload.len(), kind == UpKind::Records);
        Ok(Step::Ingest { kind, payload: publish.payload, reply })
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<Packet, Violation> {
        if subscribe.filters.len() > self.limits.filters {
            return Err(Violation::Filters);
        }
        let return_codes = subscribe
            .filters
            .iter()
            .map(|wish| {
                match self.filter(&wish.path) {
                    Some(Filter::All) => self.hears_all = true,
                    Some(Filter::One(kind)) if !self.hears.contains(&kind) => self.hears.push(kind),
                    Some(Filter::One(_)) => {}
                    None => return SubscribeReasonCode::Failure,
                }
                SubscribeReasonCode::Success(QoS::AtLeastOnce)
            })
            .collect();
        Ok(Packet::SubAck(SubAck::new(subscribe.pkid, return_codes)))
    }

    fn filter(&self, filter: &str) -> Option<Filter> {
        if filter == self.topics.down_filter(&self.node) {
            return Some(Filter::All);
        }
        let (node, kind) = self.topics.parse_down(filter)?;
        (node == self.node).then_some(Filter::One(kind))
    }
}

enum Filter {
    All,
    One(DownKind),
}

#[cfg(test)]
mod tests;
