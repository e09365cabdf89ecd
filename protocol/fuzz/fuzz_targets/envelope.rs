//! Whatever decodes must encode, and decode to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noderr_protocol::{Down, Message, Payload, Up};

fn round_trip<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = message.encode().expect("what was decoded fits the wire");
        assert_eq!(M::decode(&again).as_ref(), Ok(&message));
    }
}

fuzz_target!(|bytes: &[u8]| {
    round_trip::<Up>(bytes);
    round_trip::<Down>(bytes);
    round_trip::<Payload>(bytes);
});
