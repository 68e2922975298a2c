//! Bytes of a file, gunzipped on the way where its name ends in `.gz`, with errors that say what was read and for whom.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Argument, DataError};

/// What is being read, and the argument that asked for it.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub argument: Argument,
    pub source_name: String,
}

impl Origin {
    pub fn new(argument: Argument, source_name: &str) -> Self {
        Self { argument, source_name: source_name.to_owned() }
    }

    pub fn malformed(&self, reason: impl Into<String>) -> DataError {
        DataError::Malformed { argument: self.argument, source_name: self.source_name.clone(), reason: reason.into() }
    }

    pub fn unreadable(&self, reason: impl Into<String>) -> DataError {
        DataError::Read { argument: self.argument, source_name: self.source_name.clone(), reason: reason.into() }
    }

    pub fn too_large(&self, shape: &[u64]) -> DataError {
        DataError::TooLarge { argument: self.argument, source_name: self.source_name.clone(), shape: shape.to_vec() }
    }

    /// Opens the file of that name.
    pub fn open(&self) -> Result<BufReader<File>, DataError> {
        match File::open(&self.source_name) {
            Ok(file) => Ok(BufReader::new(file)),
            Err(error) => {
                Err(DataError::Open { argument: self.argument, source_name: self.source_name.clone(), error })
            }
        }
    }
}

/// A reader that counts what it hands out.
pub(super) struct Stream<'a> {
    pub origin: Origin,
    reader: Box<dyn Read + 'a>,
    compressed: bool,
    /// Bytes handed out, after decompression.
    bytes: u64,
}

impl<'a> Stream<'a> {
    /// The file of the origin's name; gunzipped if that ends in `.gz`.
    pub fn open(origin: Origin) -> Result<Self, DataError> {
        let file = origin.open()?;
        if ends_with(&origin.source_name, ".gz") {
            Ok(Self { origin, reader: Box::new(MultiGzDecoder::new(file)), compressed: true, bytes: 0 })
        } else {
            Ok(Self { origin, reader: Box::new(file), compressed: false, bytes: 0 })
        }
    }

    /// Bytes in memory, gunzipped if the origin's name ends in `.gz`.
    pub fn memory(origin: Origin, bytes: &'a [u8]) -> Self {
        let compressed = ends_with(&origin.source_name, ".gz");
        let reader: Box<dyn Read + 'a> =
            if compressed { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        Self { origin, reader, compressed, bytes: 0 }
    }

    /// A member of an archive, which decompresses on its own account.
    pub fn member(origin: Origin, reader: impl Read + 'a) -> Self {
        Self { origin, reader: Box::new(reader), compressed: false, bytes: 0 }
    }

    /// Fills `buffer`, or says where the data ended.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DataError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => {
                    let missing = buffer.len() - filled;
                    return Err(self.origin.unreadable(format!(
                        "unexpected end of data after {} bytes, at least {missing} more expected",
                        self.bytes
                    )));
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(())
    }

    /// An error unless all bytes have been read; checks the checksum of compressed data too.
    pub fn expect_end(&mut self) -> Result<(), DataError> {
        let expected = self.bytes;
        loop {
            match self.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    return Err(self.origin.malformed(format!("bytes are left over after the expected {expected}")));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// The error for a failed read.
    pub fn failed(&self, error: &io::Error) -> DataError {
        let what = if self.compressed { "gzip data" } else { "data" };
        self.origin.unreadable(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("unexpected end of {what} after {} bytes", self.bytes),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                format!("corrupt {what} after {} bytes: {error}", self.bytes)
            }
            _ => format!("{error} after {} bytes", self.bytes),
        })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Whether a file's name has that ending, in capitals or not.
pub(super) fn ends_with(name: &str, ending: &str) -> bool {
    name.len() >= ending.len() && name.as_bytes()[name.len() - ending.len()..].eq_ignore_ascii_case(ending.as_bytes())
}
