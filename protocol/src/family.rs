//! A family of messages: everything one side says to the other. One line a message; its kind, its topic level and its
//! codec follow.

/// Declares a family: the enumeration of its messages, that of their kinds, and the codec.
macro_rules! family {
    (
        $(#[$doc:meta])* $family:ident,
        $(#[$kind_doc:meta])* $kind:ident {
            $($(#[$vdoc:meta])* $variant:ident($message:ty) = $byte:literal, $level:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $family { $($(#[$vdoc])* $variant($message),)* }

        $(#[$kind_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$vdoc])* $variant,)* }

        impl $kind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind's byte in the envelope. Append only: a byte is never given a second meaning.
            pub const fn byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)* }
            }

            /// The kind's last topic level.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $level,)* }
            }

            /// The kind of this byte, if there is one.
            pub fn from_byte(byte: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.byte() == byte)
            }

            /// The kind of this topic level, if there is one.
            pub fn from_level(level: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == level)
            }
        }

        impl $family {
            /// The kind, which is also the topic's last level.
            pub const fn kind(&self) -> $kind {
                match self { $(Self::$variant(_) => $kind::$variant,)* }
            }
        }

        impl crate::Message for $family {
            fn encode(&self) -> Result<Vec<u8>, crate::EncodeError> {
                match self { $(Self::$variant(message) => crate::envelope::seal($byte, message),)* }
            }

            fn decode(bytes: &[u8]) -> Result<Self, crate::DecodeError> {
                let (byte, rest) = crate::envelope::open(bytes)?;
                match byte {
                    $($byte => crate::envelope::body(rest).map(Self::$variant),)*
                    other => Err(crate::DecodeError::UnknownKind(other)),
                }
            }
        }
    };
}

pub(crate) use family;
