//! Enumerations that may grow: a reader keeps an unknown value as a number, instead of refusing the whole
//! message.

/// An enumeration that travels as one byte. A byte is never given a second meaning.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident, $unknown:literal { $($(#[$vdoc:meta])* $variant:ident = $byte:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A byte that this build does not know.
            Other(u8),
        }

        impl $name {
            /// Every variant that this build knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)*];

            /// The byte on the wire.
            pub const fn byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)* Self::Other(byte) => byte }
            }

            /// The variant that a byte stands for.
            pub const fn of_byte(byte: u8) -> Self {
                match byte { $($byte => Self::$variant,)* other => Self::Other(other) }
            }

            /// The name that is stored and shown; the name of an unknown byte has the byte in it.
            pub fn name(self) -> std::borrow::Cow<'static, str> {
                match self { $(Self::$variant => $text.into(),)* Self::Other(byte) => format!(concat!($unknown, "_{}"), byte).into() }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(self.byte())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u8::deserialize(deserializer).map(Self::of_byte)
            }
        }
    };
}

pub(crate) use open_enum;
