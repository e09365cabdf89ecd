//! A serialiser that writes what postcard writes, and notes for every part of it which field the bytes are of. The document
//! shows an example of every message with it; that the bytes are postcard's own is checked beside.

use serde::Serialize;
use serde::ser::{self, Impossible};
use std::fmt::{self, Display};

/// Bytes, whose they are, and what they say.
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    pub(crate) field: String,
    pub(crate) says: String,
}

/// The lines of a value.
pub(crate) fn trace<T: Serialize>(value: &T) -> Vec<Line> {
    let mut tracer = Tracer { lines: Vec::new(), path: Vec::new() };
    value.serialize(&mut tracer).expect("a value that postcard writes can be traced");
    tracer.lines
}

pub(crate) struct Tracer {
    lines: Vec<Line>,
    path: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Untraceable(String);

impl Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untraceable {}

impl ser::Error for Untraceable {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Traced = Result<(), Untraceable>;

impl Tracer {
    fn line(&mut self, bytes: Vec<u8>, says: String) -> Traced {
        let field = self.path.concat();
        self.lines.push(Line { bytes, field: field.trim_start_matches('.').to_owned(), says });
        Ok(())
    }

    fn simple<T: Serialize + Display>(&mut self, kind: &str, value: T) -> Traced {
        let bytes = postcard::to_extend(&value, Vec::new()).map_err(ser::Error::custom)?;
        self.line(bytes, format!("{kind} {value}"))
    }

    fn within<T: Serialize + ?Sized>(&mut self, step: String, value: &T) -> Traced {
        self.path.push(step);
        value.serialize(&mut *self)?;
        self.path.pop();
        Ok(())
    }

    fn count(&mut self, count: usize, of: &str) -> Traced {
        let bytes = postcard::to_extend(&(count as u64), Vec::new()).map_err(ser::Error::custom)?;
        self.line(bytes, format!("{of} {count}"))
    }

    fn variant(&mut self, index: u32, name: &str) -> Traced {
        let bytes = postcard::to_extend(&index, Vec::new()).map_err(ser::Error::custom)?;
        self.line(bytes, format!("variant {index}, {name}"))
    }
}

impl<'a> ser::Serializer for &'a mut Tracer {
    type Ok = ();
    type Error = Untraceable;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Impossible<(), Untraceable>;
    type SerializeTupleVariant = Impossible<(), Untraceable>;
    type SerializeMap = Impossible<(), Untraceable>;
    type SerializeStruct = &'a mut Tracer;
    type SerializeStructVariant = Impossible<(), Untraceable>;

    fn is_human_readable(&self) -> bool {
        false
    }
    fn serialize_bool(self, value: bool) -> Traced {
        self.simple("bool", value)
    }
    fn serialize_i8(self, value: i8) -> Traced {
        self.simple("i8", value)
    }
    fn serialize_i16(self, value: i16) -> Traced {
        self.simple("i16", value)
    }
    fn serialize_i32(self, value: i32) -> Traced {
        self.simple("i32", value)
    }
    fn serialize_i64(self, value: i64) -> Traced {
        self.simple("i64", value)
    }
    fn serialize_u8(self, value: u8) -> Traced {
        self.simple("u8", value)
    }
    fn serialize_u16(self, value: u16) -> Traced {
        self.simple("u16", value)
    }
    fn serialize_u32(self, value: u32) -> Traced {
        self.simple("u32", value)
    }
    fn serialize_u64(self, value: u64) -> Traced {
        self.simple("u64", value)
    }
    fn serialize_f32(self, value: f32) -> Traced {
        self.simple("f32", value)
    }
    fn serialize_f64(self, value: f64) -> Traced {
        self.simple("f64", value)
    }
    fn serialize_char(self, value: char) -> Traced {
        self.simple("char", value)
    }
    fn serialize_str(self, value: &str) -> Traced {
        self.count(value.len(), "length")?;
        self.line(value.as_bytes().to_vec(), format!("{value:?}"))
    }
    fn serialize_bytes(self, value: &[u8]) -> Traced {
        self.count(value.len(), "length")?;
        if value.is_empty() { Ok(()) } else { self.line(value.to_vec(), "bytes".to_owned()) }
    }
    fn serialize_none(self) -> Traced {
        self.line(vec![0], "absent".to_owned())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Traced {
        self.line(vec![1], "present".to_owned())?;
        value.serialize(self)
    }
    fn serialize_unit(self) -> Traced {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Traced {
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, variant: &'static str) -> Traced {
        self.variant(index, variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Traced {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Traced {
        self.variant(index, variant)?;
        value.serialize(self)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'a>, Untraceable> {
        self.count(len.unwrap_or_default(), "count")?;
        Ok(Items { tracer: self, index: 0 })
    }
    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, Untraceable> {
        Ok(Items { tracer: self, index: 0 })
    }
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Untraceable> {
        Err(ser::Error::custom(name))
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Untraceable> {
        Err(ser::Error::custom(name))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Untraceable> {
        Err(ser::Error::custom("a map"))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<&'a mut Tracer, Untraceable> {
        Ok(self)
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Untraceable> {
        Err(ser::Error::custom(name))
    }
}

pub(crate) struct Items<'a> {
    tracer: &'a mut Tracer,
    index: usize,
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Untraceable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Traced {
        self.tracer.within(format!("[{}]", self.index), value)?;
        self.index += 1;
        Ok(())
    }
    fn end(self) -> Traced {
        Ok(())
    }
}

/// An array: its bytes are one line.
impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Untraceable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Traced {
        let before = self.tracer.lines.len();
        value.serialize(&mut *self.tracer)?;
        self.index += 1;
        let added: Vec<u8> = self.tracer.lines.drain(before..).flat_map(|line| line.bytes).collect();
        let count = self.index;
        match self.tracer.lines.last_mut().filter(|_| count > 1) {
            Some(line) => {
                line.bytes.extend(added);
                line.says = format!("{count} bytes, no count before them");
                Ok(())
            }
            None => self.tracer.line(added, "1 byte".to_owned()),
        }
    }
    fn end(self) -> Traced {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Tracer {
    type Ok = ();
    type Error = Untraceable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Traced {
        self.within(format!(".{name}"), value)
    }
    fn end(self) -> Traced {
        Ok(())
    }
}
