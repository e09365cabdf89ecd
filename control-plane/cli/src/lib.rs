//! noderrctl: what admins and release managers type.
