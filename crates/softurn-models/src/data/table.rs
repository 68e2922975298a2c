//! Comma-separated values: a header of column names, then one row a line, every cell a finite number except in the column of
//! labels.

use std::collections::VecDeque;
use std::io::{self, Read};

use csv::{ReaderBuilder, StringRecord, Trim};
use ndarray::Array2;

use super::stream::{Origin, Stream};
use super::{Argument, DataError, Dataset, Labels};

/// Cells that say "no value", in small letters.
const MISSING: [&str; 6] = ["", "na", "n/a", "null", "none", "?"];

/// Reads the first `rows` rows (all by default); `label_column` becomes the labels.
pub(super) fn read_dataset(
    stream: Stream<'_>,
    label_column: Option<&str>,
    rows: Option<usize>,
) -> Result<Dataset, DataError> {
    let mut table = Table::open(stream)?;
    let name = table.origin().source_name.clone();
    let labels_at = match label_column {
        Some(column) => Some(table.column(column, Argument::LabelColumn)?),
        None => None,
    };
    let (mut values, mut texts, mut read) = (Vec::new(), Vec::new(), 0);
    while rows.is_none_or(|rows| read < rows) && table.next()? {
        for column in 0..table.header.len() {
            if Some(column) == labels_at {
                texts.push(table.text(column, Argument::LabelColumn)?);
            } else {
                values.push(table.number(column)?);
            }
        }
        read += 1;
    }
    if let Some(asked) = rows.filter(|&rows| rows == 0 || rows > read) {
        // Asked for none, nothing was read: count what there is.
        while table.next()? {
            read += 1;
        }
        return Err(DataError::Rows { source_name: name, asked, available: read as u64 });
    }
    let cols = table.header.len() - usize::from(labels_at.is_some());
    let features =
        Array2::from_shape_vec((read, cols), values).map_err(|error| table.origin().malformed(error.to_string()))?;
    let data = Dataset::table(name, features)?;
    let data = if labels_at.is_some() { data.with_labels(Labels::from_texts(&texts))? } else { data };
    Ok(data.first_of(rows.is_none().then_some(read as u64)))
}

/// Reads labels from the column of that name, by default from the only one.
pub(super) fn read_labels(stream: Stream<'_>, column: Option<&str>) -> Result<Labels, DataError> {
    let mut table = Table::open(stream)?;
    let origin = table.origin().clone();
    let column = match column {
        Some(column) => table.column(column, origin.argument)?,
        None if table.header.len() == 1 => 0,
        None => {
            let names = table.header.iter().map(str::to_owned).collect();
            return Err(DataError::Unnamed { argument: origin.argument, source_name: origin.source_name, names });
        }
    };
    let mut texts = Vec::new();
    while table.next()? {
        texts.push(table.text(column, origin.argument)?);
    }
    Ok(Labels::from_texts(&texts))
}

struct Table<'a> {
    reader: csv::Reader<Lines<'a>>,
    header: StringRecord,
    record: StringRecord,
}

impl<'a> Table<'a> {
    fn open(stream: Stream<'a>) -> Result<Self, DataError> {
        let reader = ReaderBuilder::new().trim(Trim::All).from_reader(Lines::new(stream));
        let mut table = Self { reader, header: StringRecord::new(), record: StringRecord::new() };
        table.header = match table.reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(table.failed(error)),
        };
        let origin = table.origin();
        if table.header.is_empty() {
            return Err(origin.malformed("there is no header of column names"));
        }
        if table.header.iter().all(|name| name.parse::<f64>().is_ok()) {
            return Err(origin.malformed("line 1 holds numbers, expected a header of column names"));
        }
        Ok(table)
    }

    fn origin(&self) -> &Origin {
        &self.reader.get_ref().stream.origin
    }

    /// Moves to the next row; false after the last.
    fn next(&mut self) -> Result<bool, DataError> {
        let passed = self.reader.position().byte();
        self.reader.get_mut().forget(passed);
        match self.reader.read_record(&mut self.record) {
            Ok(more) => Ok(more),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn column(&self, name: &str, argument: Argument) -> Result<usize, DataError> {
        let origin = self.origin();
        let mut places = self.header.iter().enumerate().filter(|&(_, column)| column == name).map(|(place, _)| place);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => Err(DataError::Malformed {
                argument,
                source_name: origin.source_name.clone(),
                reason: format!("several columns are called '{name}'"),
            }),
            (None, _) => Err(DataError::NoSuchName {
                argument,
                source_name: origin.source_name.clone(),
                asked: name.to_owned(),
                names: self.header.iter().map(str::to_owned).collect(),
            }),
        }
    }

    fn number(&self, column: usize) -> Result<f32, DataError> {
        let cell = self.cell(column);
        match cell.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ if is_missing(cell) => Err(self.missing(column, self.origin().argument)),
            _ => Err(DataError::Cell {
                argument: self.origin().argument,
                source_name: self.origin().source_name.clone(),
                line: self.line(),
                column: self.header[column].to_owned(),
                cell: cell.to_owned(),
            }),
        }
    }

    fn text(&self, column: usize, argument: Argument) -> Result<String, DataError> {
        let cell = self.cell(column);
        if is_missing(cell) { Err(self.missing(column, argument)) } else { Ok(cell.to_owned()) }
    }

    /// The reader refuses rows that are not as long as the header.
    fn cell(&self, column: usize) -> &str {
        &self.record[column]
    }

    fn missing(&self, column: usize, argument: Argument) -> DataError {
        DataError::MissingValue {
            argument,
            source_name: self.origin().source_name.clone(),
            line: self.line(),
            column: self.header[column].to_owned(),
        }
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(0, |position| self.reader.get_ref().line(position))
    }

    fn failed(&self, error: csv::Error) -> DataError {
        let lines = self.reader.get_ref();
        let stream = &lines.stream;
        let at = error.position().map_or(String::new(), |position| format!("line {}: ", lines.line(position)));
        match error.kind() {
            csv::ErrorKind::Io(error) => stream.failed(error),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                stream.origin.malformed(format!("{at}{len} cells, {expected_len} expected"))
            }
            csv::ErrorKind::Utf8 { err, .. } => stream.origin.malformed(format!("{at}not UTF-8: {err}")),
            _ => stream.origin.malformed(format!("{at}{error}")),
        }
    }
}

/// Counts lines as an editor does. The csv reader's own count lags behind by empty lines and by the `\n` of `\r\n`, which it
/// takes for the start of the next record.
struct Lines<'a> {
    stream: Stream<'a>,
    bytes: u64,
    line: u64,
    previous: u8,
    /// Offset and number of every line that is not empty, from the current record on.
    starts: VecDeque<(u64, u64)>,
}

impl<'a> Lines<'a> {
    fn new(stream: Stream<'a>) -> Self {
        Self { stream, bytes: 0, line: 1, previous: b'\n', starts: VecDeque::new() }
    }

    /// The line on which the record at that position begins.
    fn line(&self, position: &csv::Position) -> u64 {
        self.starts.iter().find(|&&(start, _)| start >= position.byte()).map_or(self.line, |&(_, line)| line)
    }

    fn forget(&mut self, passed: u64) {
        while self.starts.front().is_some_and(|&(start, _)| start < passed) {
            self.starts.pop_front();
        }
    }
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        for &byte in &buffer[..read] {
            match (self.previous, byte) {
                (b'\r', b'\n') => {}
                (_, b'\r' | b'\n') => self.line += 1,
                (b'\r' | b'\n', _) => self.starts.push_back((self.bytes, self.line)),
                _ => {}
            }
            self.previous = byte;
            self.bytes += 1;
        }
        Ok(read)
    }
}

fn is_missing(cell: &str) -> bool {
    MISSING.iter().any(|missing| cell.eq_ignore_ascii_case(missing))
}
