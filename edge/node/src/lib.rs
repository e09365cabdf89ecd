//! The runtime on the box: composition root, configuration, supervision, local status, CLI.
