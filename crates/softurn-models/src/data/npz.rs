//! NumPy's `.npz` archives: a zip file whose members `NAME.npy` are arrays.

use std::fs::File;
use std::io::BufReader;

use zip::ZipArchive;

use super::array::Header;
use super::npy;
use super::stream::{Origin, Stream};
use super::{DataError, Dataset, Labels};

/// An open archive.
pub(super) struct Archive {
    origin: Origin,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    pub fn open(origin: Origin) -> Result<Self, DataError> {
        let zip = ZipArchive::new(origin.open()?).map_err(|error| origin.malformed(error.to_string()))?;
        Ok(Self { origin, zip })
    }

    /// An error about this archive.
    pub fn malformed(&self, reason: String) -> DataError {
        self.origin.malformed(reason)
    }

    /// Reads the features from the array of that name; by default the only one of two dimensions or more, or else the one
    /// of these that is called `X` or `x`.
    pub fn dataset(mut self, array: Option<&str>, rows: Option<usize>) -> Result<Dataset, DataError> {
        let array = self.choose(array, &["X", "x"], |header| header.shape.len() >= 2)?;
        let name = format!("{}:{array}", self.origin.source_name);
        self.read(&array, |stream, header| super::array::read_dataset(stream, header, &name, rows))
    }

    /// Reads labels from the array of that name; by default the only one of one dimension and integers, or else the one of
    /// these that is called `y`, `Y` or `labels`.
    pub fn labels(mut self, array: Option<&str>) -> Result<Labels, DataError> {
        let integers =
            |header: &Header| header.shape.len() == 1 && header.element.is_some_and(|element| !element.is_float());
        let array = self.choose(array, &["y", "Y", "labels"], integers)?;
        self.read(&array, super::array::read_labels)
    }

    /// The array of that name; by default the only one that suits, or else the first of the usual names that does.
    pub fn choose(
        &mut self,
        array: Option<&str>,
        usual: &[&str],
        suits: impl Fn(&Header) -> bool,
    ) -> Result<String, DataError> {
        let argument = self.origin.argument;
        let source_name = self.origin.source_name.clone();
        if let Some(array) = array {
            if self.names().iter().any(|name| name == array) {
                return Ok(array.to_owned());
            }
            let names = self.descriptions();
            return Err(DataError::NoSuchName { argument, source_name, asked: array.to_owned(), names });
        }
        let mut candidates = Vec::new();
        for name in self.names() {
            if self.read(&name, |_, header| Ok(suits(header)))? {
                candidates.push(name);
            }
        }
        if let [only] = &mut candidates[..] {
            return Ok(std::mem::take(only));
        }
        match usual.iter().find(|usual| candidates.iter().any(|name| name == *usual)) {
            Some(usual) => Ok((*usual).to_owned()),
            None => Err(DataError::Unnamed { argument, source_name, names: self.descriptions() }),
        }
    }

    /// The names of the arrays.
    pub fn names(&self) -> Vec<String> {
        let members = self.zip.file_names().filter_map(Result::ok);
        members.filter_map(|member| member.strip_suffix(".npy").map(str::to_owned)).collect()
    }

    /// The arrays with type and shape, for messages.
    fn descriptions(&mut self) -> Vec<String> {
        let describe = |archive: &mut Self, name: String| match archive
            .read(&name, |_, header| Ok(format!("{name} {} {:?}", header.dtype, header.shape)))
        {
            Ok(description) => description,
            Err(_) => name,
        };
        self.names().into_iter().map(|name| describe(self, name)).collect()
    }

    /// Reads the array of that name.
    pub fn read<T>(
        &mut self,
        array: &str,
        read: impl FnOnce(&mut Stream<'_>, &Header) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let origin = Origin::new(self.origin.argument, &format!("{}:{array}", self.origin.source_name));
        let member = self.zip.by_name(&format!("{array}.npy")).map_err(|error| origin.malformed(error.to_string()))?;
        let mut stream = Stream::member(origin, member);
        let header = npy::read_header(&mut stream)?;
        read(&mut stream, &header)
    }
}
