//! What can be wrong with data, each said in one line that names the argument at fault.

use std::fmt;

/// The program's argument that an error is about; displayed as the user types it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Argument {
    /// `--data`: the features.
    Data,
    /// `--labels`: the true groups.
    Labels,
    /// `--label-column`: the column of a csv file that holds the true groups.
    LabelColumn,
    /// `--kind`: what the columns of a table are.
    Kind,
    /// `--rows`: how many of the first rows to use.
    Rows,
    /// `--factors`: the classes of the factors that images are made from.
    Factors,
    /// `--factor-sizes`: how many values each factor of a grid takes.
    FactorSizes,
    /// `--shared`: how many factors the images of a pair have in common.
    Shared,
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "--data",
            Self::Labels => "--labels",
            Self::LabelColumn => "--label-column",
            Self::Kind => "--kind",
            Self::Rows => "--rows",
            Self::Factors => "--factors",
            Self::FactorSizes => "--factor-sizes",
            Self::Shared => "--shared",
        })
    }
}

/// Why a data set or its labels cannot be used.
///
/// Every message is a single line that starts with the [`Argument`] at fault. `source_name` is the path or the name of the
/// data set that was being read. Rows and columns count from 0, lines of a csv file from 1 (the header).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be opened.
    #[error("{argument}: cannot open {}: {error}", quoted(.source_name))]
    Open {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The file was opened and cannot be read to the end.
    #[error("{argument}: cannot read {}: {}", quoted(.source_name), one_line(.reason))]
    Read {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// What went wrong, and after how many bytes.
        reason: String,
    },
    /// The bytes do not follow the file's format.
    #[error("{argument}: {} is malformed: {}", quoted(.source_name), one_line(.reason))]
    Malformed {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The name's ending is none of those that are read.
    #[error(
        "{argument}: {} is neither an embedded set (digits, iris, penguins, wine) nor a file named *.idx, *-ubyte, *-float, \
         *.npy, *.csv (each also with .gz) or *.npz",
        quoted(.source_name)
    )]
    UnknownFormat {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
    },
    /// The elements are of a type that cannot be used here.
    #[error("{argument}: {} holds elements of type {}, expected {expected}", quoted(.source_name), quoted(.dtype))]
    ElementType {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The type as the file writes it.
        dtype: String,
        /// The types that can be used.
        expected: &'static str,
    },
    /// The array has too few or too many dimensions.
    #[error("{argument}: {} has shape {shape:?}, expected {expected}", quoted(.source_name))]
    Dimensions {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The shape found.
        shape: Vec<u64>,
        /// The shapes that can be used.
        expected: &'static str,
    },
    /// The array is larger than this machine can hold.
    #[error("{argument}: {} with shape {shape:?} does not fit in memory", quoted(.source_name))]
    TooLarge {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The shape found.
        shape: Vec<u64>,
    },
    /// The file holds several arrays or columns and none was named.
    #[error("{argument}: {} needs a choice: write FILE:NAME with one of: {}", quoted(.source_name), listed(.names))]
    Unnamed {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The arrays (with type and shape) or columns there are.
        names: Vec<String>,
    },
    /// The file has no array or column of that name.
    #[error("{argument}: {} has no array or column {}, but: {}", quoted(.source_name), quoted(.asked), listed(.names))]
    NoSuchName {
        /// The argument that named the array or column.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The name asked for.
        asked: String,
        /// The arrays (with type and shape) or columns there are.
        names: Vec<String>,
    },
    /// `FILE:NAME` for a file in which nothing has a name.
    #[error("{argument}: {} holds one array without a name: leave out {}", quoted(.source_name), quoted(.asked))]
    NoNames {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// The name asked for.
        asked: String,
    },
    /// A label column was named for data that have no columns by name.
    #[error("{argument}: {} is not a csv file, so it has no columns by name", quoted(.source_name))]
    NotCsv {
        /// The argument that named the column.
        argument: Argument,
        /// The file's path.
        source_name: String,
    },
    /// A csv cell is no finite number.
    #[error(
        "{argument}: {} line {line}, column {}: {} is not a finite number",
        quoted(.source_name),
        quoted(.column),
        quoted(.cell)
    )]
    Cell {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// Line of the file, the header being line 1.
        line: u64,
        /// The column's name.
        column: String,
        /// The cell's text.
        cell: String,
    },
    /// A csv cell is empty or says that its value is missing.
    #[error("{argument}: {} line {line}, column {}: the value is missing", quoted(.source_name), quoted(.column))]
    MissingValue {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path.
        source_name: String,
        /// Line of the file, the header being line 1.
        line: u64,
        /// The column's name.
        column: String,
    },
    /// A feature is NaN or infinite, or overflows 32-bit floating point.
    #[error("{argument}: {} row {row}, column {column} (counted from 0): {value} is not a finite number", quoted(.source_name))]
    NonFinite {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path or the data set's name.
        source_name: String,
        /// Row of the feature matrix.
        row: usize,
        /// Column of the feature matrix.
        column: usize,
        /// The value as an `f32`.
        value: f32,
    },
    /// There are no rows or no columns.
    #[error("{argument}: {} is empty: {rows} rows of {cols} values", quoted(.source_name))]
    Empty {
        /// The argument that named the file.
        argument: Argument,
        /// The file's path or the data set's name.
        source_name: String,
        /// Rows found.
        rows: usize,
        /// Values in a row.
        cols: usize,
    },
    /// The first N rows were asked for and N is 0 or more than there are.
    #[error("--rows: {asked} rows asked for, {} has {available}", quoted(.source_name))]
    Rows {
        /// The file's path or the data set's name.
        source_name: String,
        /// Rows asked for.
        asked: usize,
        /// Rows there are.
        available: u64,
    },
    /// The shares of an unbalanced data set do not fit.
    #[error("--keep: {message}")]
    Keep {
        /// Why.
        message: String,
    },
    /// There is not one label for each row.
    #[error("{argument}: {labels} labels for {rows} rows")]
    LabelCount {
        /// The argument that gave the labels.
        argument: Argument,
        /// Labels given.
        labels: usize,
        /// Rows of the data.
        rows: usize,
    },
    /// A label's id has no name.
    #[error("{argument}: label {id} of row {row} has no name among {names}")]
    LabelId {
        /// The argument that gave the labels.
        argument: Argument,
        /// Row of the label.
        row: usize,
        /// The id found.
        id: u32,
        /// How many names there are.
        names: usize,
    },
    /// There is not one row of factors for each image.
    #[error("{}: {rows} rows of factors for {images} images", Argument::Factors)]
    FactorRows {
        /// Rows of factors.
        rows: u64,
        /// Images.
        images: u64,
    },
    /// A grid of factors has not as many combinations as there are images.
    #[error("{}: {} for the {images} images of {}", Argument::FactorSizes, product(.sizes), quoted(.source_name))]
    FactorGrid {
        /// The size of every factor.
        sizes: Vec<usize>,
        /// The path of the images.
        source_name: String,
        /// Images.
        images: u64,
    },
    /// A class is not one of its factor's.
    #[error("{}: class {class} of {} in row {row}, expected 0 to {}", Argument::Factors, quoted(.factor), .size.saturating_sub(1))]
    FactorClass {
        /// Row of the table.
        row: usize,
        /// The factor's name.
        factor: String,
        /// The class found.
        class: i64,
        /// How many classes the factor has.
        size: usize,
    },
    /// The table of factors cannot be used.
    #[error("{}: {}", Argument::Factors, one_line(.message))]
    FactorTable {
        /// Why.
        message: String,
    },
    /// Images cannot be reduced by a whole number because it does not divide a side.
    #[error("{}: images of {height} by {width} pixels in {} cannot be reduced by {by}", Argument::Data, quoted(.source_name))]
    ImageSide {
        /// The path of the images.
        source_name: String,
        /// Rows of pixels.
        height: usize,
        /// Pixels in a row.
        width: usize,
        /// The divisor asked for.
        by: usize,
    },
    /// Sprites cannot be drawn at that side.
    #[error("{}: sprites of side {side}, expected {least} to {largest}", Argument::Data)]
    SpriteSide {
        /// The side asked for, in pixels.
        side: usize,
        /// The smallest there is.
        least: usize,
        /// The largest there is.
        largest: usize,
    },
    /// Two images cannot share so many factors and differ.
    #[error("{}: {shared} shared factors of {factors}, expected 0 to {}", Argument::Shared, .factors.saturating_sub(1))]
    Shared {
        /// Factors to share.
        shared: usize,
        /// Factors there are.
        factors: usize,
    },
}

/// `8 combinations (4 x 2)`, as long as the product can be told.
fn product(sizes: &[usize]) -> String {
    let product = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
    let product = product.map_or("more than 2^64".to_owned(), |product| product.to_string());
    one_line(&format!(
        "{product} combinations ({})",
        sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
    ))
}

/// `text` in quotes, on one line, and short enough to stand in a message.
fn quoted(text: &str) -> String {
    format!("'{}'", one_line(text))
}

fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut line: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let escaped = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            // One of the two is empty.
            let plain = (!escaped).then_some(c);
            escaped.then(|| c.escape_default()).into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let mut list = names.iter().take(MOST).map(|name| one_line(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        list.push_str(&format!(" and {} more", names.len() - MOST));
    } else if names.is_empty() {
        list.push_str("(none)");
    }
    list
}
