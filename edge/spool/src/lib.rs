//! The outgoing buffer in sled: append, read, acknowledge, bounded.
