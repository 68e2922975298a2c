//! Data sets that travel with the crate: see `data/LICENSES.md` for their sources and licences (CC BY 4.0, but for penguins: CC0).

use super::array::{self, Header};
use super::stream::{Origin, Stream};
use super::{Argument, DataError, Dataset, Labels, idx, table};

/// Handwritten digits: 1,797 images of 8 by 8 pixels, 10 classes of 174 to 183.
///
/// Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, 1998, <https://doi.org/10.24432/C50P49>, CC BY 4.0.
///
/// ```
/// let digits = softurn_models::data::digits();
/// assert_eq!((digits.rows(), digits.cols()), (1797, 64));
/// assert_eq!(digits.labels().map(|labels| labels.classes()), Some(10));
/// ```
pub fn digits() -> Dataset {
    let images = include_bytes!("../../data/digits-images-idx3-ubyte.gz");
    let labels = include_bytes!("../../data/digits-labels-idx1-ubyte.gz");
    let stream = |bytes: &'static [u8]| Stream::memory(Origin::new(Argument::Data, "digits.gz"), bytes);
    let read = || -> Result<Dataset, DataError> {
        let mut stream_of_images = stream(images);
        let header: Header = idx::read_header(&mut stream_of_images)?;
        let data = array::read_dataset(&mut stream_of_images, &header, "digits", None)?;
        let mut stream_of_labels = stream(labels);
        let header = idx::read_header(&mut stream_of_labels)?;
        let labels: Labels = array::read_labels(&mut stream_of_labels, &header)?;
        data.with_labels(labels)
    };
    read().expect("the embedded files are whole")
}

/// Fisher's irises: 150 flowers, 4 lengths in centimetres, 3 species of 50.
///
/// Fisher, *Iris*, 1936, <https://doi.org/10.24432/C56C76>, CC BY 4.0.
pub fn iris() -> Dataset {
    table("iris", include_bytes!("../../data/iris.csv"))
}

/// Penguins of the Palmer archipelago: 333 of 3 species (146 Adelie, 68 Chinstrap, 119 Gentoo), lengths of bill and flipper and depth of
/// the bill in millimetres, body mass in grams. Those with a missing value, of sex too, are left out.
///
/// Horst, Hill and Gorman, *palmerpenguins*, 2020, <https://doi.org/10.5281/zenodo.3960218>, CC0.
pub fn penguins() -> Dataset {
    table("penguins", include_bytes!("../../data/penguins.csv"))
}

/// Wines: 178 of 3 cultivars (59, 71, 48), 13 chemical measurements of very different ranges.
///
/// Aeberhard and Forina, *Wine*, 1992, <https://doi.org/10.24432/C5PC7J>, CC BY 4.0.
pub fn wine() -> Dataset {
    table("wine", include_bytes!("../../data/wine.csv"))
}

/// The embedded set that a specification names.
pub(super) fn by_name(name: &str) -> Option<Dataset> {
    match name {
        "digits" => Some(digits()),
        "iris" => Some(iris()),
        "penguins" => Some(penguins()),
        "wine" => Some(wine()),
        _ => None,
    }
}

fn table(name: &str, csv: &[u8]) -> Dataset {
    let stream = Stream::memory(Origin::new(Argument::Data, name), csv);
    table::read_dataset(stream, Some("target"), None).expect("the embedded file is whole")
}
