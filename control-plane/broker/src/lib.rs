//! The MQTT broker: TLS front end, per-node topic fence, rumqttd as in-memory router; an external broker as the other implementation.
