//! The control plane: HTTP API, ingest, jobs, the embedded broker, the private database.
