//! The MQTT session over mTLS and the HTTPS calls: connect, publish, know that it arrived.
