//! One suite over rigs: processes with software TPMs first; also the lab behind ./dev up.
