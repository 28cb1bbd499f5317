//! [`Choices`]: what the bytes of a fuzzer choose.

/// The bytes of an input, each of which chooses something. When there are no more, the first of everything is chosen.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Begins with the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all is chosen.
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()].clone()
    }

    /// Whether something is so, which is the case for one byte in `of`.
    pub fn one_in(&mut self, of: u8) -> bool {
        self.byte() % of == of - 1
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Any bytes, `most` of them at most.
    pub fn bytes(&mut self, most: u8) -> &'a [u8] {
        let length = usize::from(self.byte()) % (usize::from(most) + 1);
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Any text, of `most` bytes at most.
    pub fn text(&mut self, most: u8) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }
}
