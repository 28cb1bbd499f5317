//! [`SparseFile`]: a file written from its start, with holes where there are only zeros.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// The least that becomes a hole: of a piece, however large, each stretch of so many bytes is looked at on its own.
const STRETCH: usize = 64 << 10;

/// A file that grows by pieces. A piece of zeros becomes a hole, and so does a part of one.
pub(crate) struct SparseFile {
    file: File,
    length: u64,
    /// Whether the file has its length and stands at its end, for all that is known.
    is_at_end: bool,
}

impl SparseFile {
    /// Starts with an empty file.
    pub(crate) const fn new(file: File) -> Self {
        Self { file, length: 0, is_at_end: true }
    }

    /// Appends a piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let (zeros, behind) = rest.split_at(leading(rest, true));
            // What is to be written and lies side by side is written at once.
            let (content, behind) = behind.split_at(leading(behind, false));
            self.length = self.length.saturating_add(zeros.len() as u64);
            if !zeros.is_empty() {
                self.file.seek(SeekFrom::Start(self.length))?;
            }
            self.is_at_end = !content.is_empty();
            self.file.write_all(content)?;
            self.length = self.length.saturating_add(content.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    /// How many bytes were appended.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Gives the file its length, which a hole at the end does not, and hands it out, standing at its end. What was written
    /// to it when it was handed out before is gone.
    pub(crate) fn end(&mut self) -> io::Result<&mut File> {
        if !std::mem::take(&mut self.is_at_end) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
        }
        Ok(&mut self.file)
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }
}

/// How many bytes from the start lie in stretches that are zeros, or that are not.
fn leading(piece: &[u8], zeros: bool) -> usize {
    piece.chunks(STRETCH).take_while(|stretch| is_zero(stretch) == zeros).map(<[u8]>::len).sum()
}

/// Whether there are only zeros, compared block by block.
fn is_zero(piece: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    piece.chunks(ZEROS.len()).all(|block| ZEROS.starts_with(block))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_read_back_as_zeros() {
        let mut sparse = SparseFile::new(tempfile::tempfile().unwrap());
        let zeros = vec![0; 1 << 20];
        for piece in [&zeros[..], b"x", &zeros, &zeros] {
            sparse.write(piece).unwrap();
        }
        let file = sparse.end().unwrap();
        assert_eq!(file.metadata().unwrap().len(), (3 << 20) + 1);
        assert!(file.metadata().unwrap().blocks() < 100);
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.iter().position(|&byte| byte != 0), Some(1 << 20));
        assert_eq!(bytes.len(), (3 << 20) + 1);
    }

    #[test]
    fn what_was_written_behind_the_end_is_gone_when_it_is_ended_again() {
        for body in [&b"body"[..], &[0; 10], b""] {
            let mut sparse = SparseFile::new(tempfile::tempfile().unwrap());
            sparse.write(body).unwrap();
            for behind in ["a longer one", "short"] {
                sparse.end().unwrap().write_all(behind.as_bytes()).unwrap();
                let file = sparse.file();
                assert_eq!(file.metadata().unwrap().len(), (body.len() + behind.len()) as u64);
            }
            let file = sparse.end().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, body);
        }
    }

    #[test]
    fn a_large_piece_has_holes_of_its_own() {
        let mut piece = vec![0; 8 << 20];
        for at in [1 << 20, (1 << 20) + STRETCH, (8 << 20) - 1] {
            piece[at] = b'x';
        }
        let mut sparse = SparseFile::new(tempfile::tempfile().unwrap());
        sparse.write(&piece).unwrap();
        let file = sparse.end().unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 <= 4 * STRETCH as u64);
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == piece);
    }
}
