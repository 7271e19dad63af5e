//! Writing FlatBuffers (<https://flatbuffers.dev/internals/>), as far as tables of contents need it: tables, strings and vectors, each after what
//! refers to it.

use std::collections::HashMap;

/// A field of a table, in the order of the schema.
pub(crate) enum Field {
    /// Not there: readers see the default.
    Absent,
    I8(i8),
    I32(i32),
    U32(u32),
    I64(i64),
    /// Something that is written later; [`Writer::point`] says where.
    Later,
}

impl Field {
    fn size(&self) -> usize {
        match self {
            Field::Absent => 0,
            Field::I8(_) => 1,
            Field::I32(_) | Field::U32(_) | Field::Later => 4,
            Field::I64(_) => 8,
        }
    }
}

/// A place that will point at something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

/// A buffer whose first table is its root.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Tables of the same shape share its description.
    shapes: HashMap<Vec<u16>, usize>,
}

impl Writer {
    /// A buffer, and the slot of its root.
    pub(crate) fn new() -> (Writer, Slot) {
        let writer = Writer {
            bytes: vec![0; 4],
            shapes: HashMap::new(),
        };
        (writer, Slot(0))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes a table where `slot` points, and gives the slots of its [`Field::Later`]s, in their order.
    pub(crate) fn table(&mut self, slot: Slot, fields: &[Field]) -> Vec<Slot> {
        // The table begins 4 bytes before a multiple of 8, so that its longest fields, which come first, lie at multiples of 8.
        let mut offsets = vec![0_u16; fields.len()];
        let mut end = 4;
        for width in [8, 4, 1] {
            for (field, offset) in fields.iter().zip(&mut offsets) {
                if field.size() == width {
                    *offset = end;
                    end += width as u16;
                }
            }
        }
        let mut shape = vec![4 + 2 * fields.len() as u16, end];
        shape.extend(&offsets);
        let description = match self.shapes.get(&shape) {
            Some(known) => *known,
            None => {
                self.align(2);
                let here = self.bytes.len();
                self.bytes
                    .extend(shape.iter().flat_map(|number| number.to_le_bytes()));
                self.shapes.insert(shape, here);
                here
            }
        };
        while self.bytes.len() % 8 != 4 {
            self.bytes.push(0);
        }
        let start = self.bytes.len();
        self.point(slot, start);
        self.bytes.resize(start + usize::from(end), 0);
        let back = i32::try_from(start - description).unwrap_or(0);
        self.put(start, &back.to_le_bytes());
        let mut later = Vec::new();
        for (field, offset) in fields.iter().zip(offsets) {
            let at = start + usize::from(offset);
            match field {
                Field::Absent => {}
                Field::I8(value) => self.put(at, &value.to_le_bytes()),
                Field::I32(value) => self.put(at, &value.to_le_bytes()),
                Field::U32(value) => self.put(at, &value.to_le_bytes()),
                Field::I64(value) => self.put(at, &value.to_le_bytes()),
                Field::Later => later.push(Slot(at)),
            }
        }
        later
    }

    pub(crate) fn string(&mut self, slot: Slot, text: &[u8]) {
        self.vector_of_bytes(slot, text);
        self.bytes.push(0);
    }

    pub(crate) fn vector_of_bytes(&mut self, slot: Slot, content: &[u8]) {
        self.align(4);
        self.point(slot, self.bytes.len());
        self.bytes
            .extend(u32::try_from(content.len()).unwrap_or(0).to_le_bytes());
        self.bytes.extend(content);
    }

    /// A vector of things that are written later, and their slots.
    pub(crate) fn vector(&mut self, slot: Slot, count: usize) -> Vec<Slot> {
        self.align(4);
        self.point(slot, self.bytes.len());
        self.bytes
            .extend(u32::try_from(count).unwrap_or(0).to_le_bytes());
        let first = self.bytes.len();
        self.bytes.resize(first + 4 * count, 0);
        (0..count).map(|index| Slot(first + 4 * index)).collect()
    }

    fn point(&mut self, slot: Slot, target: usize) {
        let distance = u32::try_from(target - slot.0).unwrap_or(0);
        self.put(slot.0, &distance.to_le_bytes());
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn align(&mut self, width: usize) {
        while !self.bytes.len().is_multiple_of(width) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        bytes[at..at + N].try_into().unwrap()
    }

    fn follow(bytes: &[u8], at: usize) -> usize {
        at + u32::from_le_bytes(number(bytes, at)) as usize
    }

    #[test]
    fn tables_are_laid_out_as_the_specification_says() {
        let (mut writer, root) = Writer::new();
        let slots = writer.table(
            root,
            &[
                Field::I8(-3),
                Field::Absent,
                Field::I64(1 << 40),
                Field::Later,
                Field::Later,
            ],
        );
        writer.string(slots[0], b"abc");
        let children = writer.vector(slots[1], 2);
        for (child, value) in children.into_iter().zip([5, 6]) {
            writer.table(child, &[Field::I32(value)]);
        }
        let bytes = writer.finish();
        let table = follow(&bytes, 0);
        let shape = table - i32::from_le_bytes(number(&bytes, table)) as usize;
        let field =
            |index: usize| usize::from(u16::from_le_bytes(number(&bytes, shape + 4 + 2 * index)));
        assert_eq!(u16::from_le_bytes(number(&bytes, shape)), 4 + 2 * 5);
        assert_eq!(bytes[table + field(0)] as i8, -3);
        assert_eq!(field(1), 0);
        assert_eq!((table + field(2)) % 8, 0, "longs are aligned");
        assert_eq!(
            i64::from_le_bytes(number(&bytes, table + field(2))),
            1 << 40
        );
        let text = follow(&bytes, table + field(3));
        assert_eq!(bytes[text..text + 8], *b"\x03\0\0\0abc\0");
        let vector = follow(&bytes, table + field(4));
        assert_eq!(u32::from_le_bytes(number(&bytes, vector)), 2);
        let shapes: Vec<usize> = (0..2)
            .map(|index| {
                let child = follow(&bytes, vector + 4 + 4 * index);
                assert_eq!(
                    i32::from_le_bytes(number(&bytes, child + 4)),
                    5 + index as i32
                );
                child - i32::from_le_bytes(number(&bytes, child)) as usize
            })
            .collect();
        assert_eq!(
            shapes[0], shapes[1],
            "what looks the same is described once"
        );
    }
}
