//! Who the box is: TPM keys, software fallback, CSR, rustls signer, quotes.
