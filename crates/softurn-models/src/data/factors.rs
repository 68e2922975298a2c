//! Images made from known factors, such as the shape, scale and position of dSprites, and the files they come in.

use std::fs;
use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};
use softurn_kernels::ops::sprites;
use softurn_kernels::{Gpu, Tensor};

use super::array::{self, Header};
use super::stream::{Origin, Stream};
use super::{Argument, DataError, Format, ImageShape, format_of, no_names, npz, read_header, split};

/// The largest side of the images of [`sprites_grid`].
const LARGEST_SPRITE: usize = 1024;

/// What varies between images: its name, and how many values it takes, `0..size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// Such as `hair`, or `factor 4` (counted from 1) where the data do not say.
    pub name: String,
    /// Values there are, 2 or more.
    pub size: usize,
}

/// Images `[n, height * width * channels]` of 8-bit pixels, and the class of every factor in each of them, `[n, factors]`.
/// Those of [`sprites_grid`] are drawn when they are asked for instead of kept.
///
/// ```
/// use ndarray::array;
/// use softurn_models::data::{Factor, FactorImages, ImageShape};
///
/// let factors = vec![Factor { name: "shape".into(), size: 2 }, Factor { name: "place".into(), size: 3 }];
/// let classes = array![[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]];
/// let shape = ImageShape { height: 1, width: 2, channels: 1 };
/// let images = FactorImages::new("dots", vec![0, 51, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0], shape, factors, classes)?;
/// assert_eq!(images.rows(&[5, 0]), [1.0, 0.0, 0.0, 0.2]);
/// assert_eq!(images.row_of(&[1, 2]), Some(5));
/// assert_eq!(images.shared([0, 3]), [false, true]);
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorImages {
    name: String,
    source: Source,
    shape: ImageShape,
    factors: Vec<Factor>,
    classes: Array2<u32>,
    /// The combinations there are, as numbers in the order of the grid (the last factor runs fastest), ascending, each with
    /// its first image.
    index: Vec<(u64, u32)>,
    /// Combinations that the sizes of the factors allow.
    combinations: u64,
}

/// Where the pixels come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Kept on the host, `[n, shape.len()]`.
    Kept(Vec<u8>),
    /// Drawn by [`sprites`] from the classes, in squares of the shape's side.
    Drawn,
}

impl FactorImages {
    /// Images of pixels from 0 (black) to 255, `[n, height * width * channels]` row after row, and the classes of their
    /// factors, `[n, factors]`, each less than its factor's size. A factor that has a single value is left out.
    ///
    /// # Errors
    /// Those of [`DataError`] that begin with `Factor`, naming `--factors`, unless there is a row of classes for each image,
    /// a factor for each of its columns, every class is below its factor's size and a factor has two values or more;
    /// [`DataError::Empty`] and [`DataError::Malformed`], naming `--data`, unless there are pixels and they make up images.
    pub fn new(
        name: impl Into<String>,
        pixels: Vec<u8>,
        shape: ImageShape,
        factors: Vec<Factor>,
        classes: Array2<u32>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        let argument = Argument::Data;
        if pixels.is_empty() || shape.is_empty() {
            return Err(DataError::Empty { argument, source_name: name, rows: classes.nrows(), cols: shape.len() });
        }
        if !pixels.len().is_multiple_of(shape.len()) {
            let reason = format!("{} values for images of {shape:?}", pixels.len());
            return Err(DataError::Malformed { argument, source_name: name, reason });
        }
        let images = pixels.len() / shape.len();
        if u32::try_from(images).is_err() {
            return Err(DataError::TooLarge { argument, source_name: name, shape: vec![images as u64] });
        }
        if classes.nrows() != images {
            return Err(DataError::FactorRows { rows: classes.nrows() as u64, images: images as u64 });
        }
        Self::of(name, Source::Kept(pixels), shape, factors, classes)
    }

    /// Images of a checked shape and number, and their factors, yet to be checked.
    fn of(
        name: String,
        source: Source,
        shape: ImageShape,
        factors: Vec<Factor>,
        classes: Array2<u32>,
    ) -> Result<Self, DataError> {
        check_names(classes.ncols(), factors.len())?;
        for (column, factor) in factors.iter().enumerate() {
            let classes = classes.column(column);
            if let Some((row, &class)) = classes.iter().enumerate().find(|&(_, &class)| class as usize >= factor.size) {
                let (factor, size) = (factor.name.clone(), factor.size);
                return Err(DataError::FactorClass { row, factor, class: i64::from(class), size });
            }
        }
        let varying: Vec<usize> = (0..factors.len()).filter(|&column| factors[column].size > 1).collect();
        if varying.is_empty() {
            return Err(DataError::FactorTable { message: "no factor has two values or more".into() });
        }
        let classes = classes.select(Axis(1), &varying);
        let factors: Vec<Factor> = varying.iter().map(|&column| factors[column].clone()).collect();
        let Some(combinations) = combinations(factors.iter().map(|factor| factor.size)) else {
            return Err(DataError::FactorTable { message: "the factors have more than 2^64 combinations".into() });
        };
        let mut index: Vec<(u64, u32)> =
            (0..).zip(classes.outer_iter()).map(|(row, classes)| (code(&factors, classes.iter()), row)).collect();
        index.sort_unstable();
        index.dedup_by_key(|(code, _)| *code);
        Ok(Self { name, source, shape, factors, classes, index, combinations })
    }

    /// The same images, smaller: every pixel is the mean of a square of `by * by` pixels, rounded to the nearest of the 256
    /// values. No memory is taken besides that of the images. Those of [`sprites_grid`] are drawn at the smaller
    /// side instead.
    ///
    /// # Errors
    /// [`DataError::ImageSide`] unless `by` divides height and width, and when sprites would be drawn with a side below 8.
    pub fn reduced(mut self, by: usize) -> Result<Self, DataError> {
        let ImageShape { height, width, channels } = self.shape;
        if by == 0 || !height.is_multiple_of(by) || !width.is_multiple_of(by) {
            return Err(DataError::ImageSide { source_name: self.name, height, width, by });
        }
        let length = self.shape.len();
        self.shape = ImageShape { height: height / by, width: width / by, channels };
        let Source::Kept(pixels) = &mut self.source else {
            if self.shape.height < sprites::LEAST_SIDE {
                return Err(DataError::ImageSide { source_name: self.name, height, width, by });
            }
            return Ok(self);
        };
        // In place: the values of a square stand at or after the place of their mean, and means are taken in order.
        let mut place = 0;
        for image in (0..pixels.len()).step_by(length) {
            for y in (0..height).step_by(by) {
                for x in (0..width).step_by(by) {
                    for channel in 0..channels {
                        let corner = image + (y * width + x) * channels + channel;
                        let mut sum = 0;
                        for row in 0..by {
                            for column in 0..by {
                                sum += usize::from(pixels[corner + (row * width + column) * channels]);
                            }
                        }
                        pixels[place] = ((sum + by * by / 2) / (by * by)) as u8;
                        place += 1;
                    }
                }
            }
        }
        pixels.truncate(place);
        pixels.shrink_to_fit();
        Ok(self)
    }

    /// The file's path, with `:ARRAY` where one was named, or `sprites`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many images there are.
    pub fn n_images(&self) -> usize {
        self.classes.nrows()
    }

    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The factors with two values or more.
    pub fn factors(&self) -> &[Factor] {
        &self.factors
    }

    /// The class of each factor in each image, `[n, factors]`.
    pub fn classes(&self) -> ArrayView2<'_, u32> {
        self.classes.view()
    }

    /// These images with pixels in `[0, 1]`, one after the other: `rows.len() * shape().len()` values.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn rows(&self, rows: &[u32]) -> Vec<f32> {
        let length = self.shape.len();
        match &self.source {
            Source::Kept(pixels) => {
                let images = rows.iter().map(|&row| &pixels[row as usize * length..][..length]);
                images.flatten().map(|&pixel| f32::from(pixel) / 255.0).collect()
            }
            Source::Drawn => {
                let drawn = sprites::cpu::forward(&self.classes_of(rows), self.shape.height);
                drawn.into_iter().map(|pixel| pixel as f32).collect()
            }
        }
    }

    /// These images on the device, `[rows.len(), shape().len()]` of pixels in `[0, 1]`: uploaded, or drawn there if they are
    /// those of [`sprites_grid`].
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn tensor(&self, gpu: &Gpu, rows: &[u32]) -> softurn_kernels::Result<Tensor> {
        match &self.source {
            Source::Kept(_) => gpu.tensor(&self.rows(rows), [rows.len(), self.shape.len()]),
            Source::Drawn => {
                let classes = gpu.tensor(&self.classes_of(rows), [rows.len(), self.factors.len()])?;
                sprites::forward(gpu, &classes, self.shape.height)
            }
        }
    }

    /// The classes of these images, one after the other.
    fn classes_of(&self, rows: &[u32]) -> Vec<u32> {
        rows.iter().flat_map(|&row| self.classes.row(row as usize)).copied().collect()
    }

    /// The first image of that combination of classes, one for each factor, if there is one.
    pub fn row_of(&self, classes: &[u32]) -> Option<u32> {
        let below = |(&class, factor): (&u32, &Factor)| (class as usize) < factor.size;
        if classes.len() != self.factors.len() || !classes.iter().zip(&self.factors).all(below) {
            return None;
        }
        let place = self.index.binary_search_by_key(&code(&self.factors, classes), |&(code, _)| code);
        place.ok().map(|place| self.index[place].1)
    }

    /// Which factors have the same class in both images, `[factors]`.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn shared(&self, [first, second]: [u32; 2]) -> Vec<bool> {
        let classes = [first, second].map(|row| self.classes.row(row as usize));
        classes[0].iter().zip(classes[1]).map(|(first, second)| first == second).collect()
    }

    /// An error unless each combination of classes has one image.
    pub(super) fn check_full(&self) -> Result<(), DataError> {
        if self.index.len() as u64 == self.combinations {
            if self.index.len() == self.n_images() {
                return Ok(());
            }
            let message =
                format!("{} images of {} combinations, expected one of each", self.n_images(), self.combinations);
            return Err(DataError::FactorTable { message });
        }
        // The first place in order that is not taken.
        let mut rest = (0..)
            .zip(&self.index)
            .find(|(code, (taken, _))| code != taken)
            .map_or(self.index.len() as u64, |(code, _)| code);
        let mut missing: Vec<String> = Vec::new();
        for Factor { name, size } in self.factors.iter().rev() {
            missing.insert(0, format!("{name} {}", rest % *size as u64));
            rest /= *size as u64;
        }
        let message = format!(
            "{} of {} combinations have an image; none has {}",
            self.index.len(),
            self.combinations,
            missing.join(", ")
        );
        Err(DataError::FactorTable { message })
    }
}

/// Reads images and a table of their factors, each named as `FILE[:ARRAY]`.
///
/// The images are 8-bit IDX, npy or npz arrays `[n, height, width]` or `[n, height, width, channels]`; black is 0 and white
/// 255, or 1 if no pixel is larger. The table holds integers `[n, factors]`. If a file `factors.txt` stands beside it, its
/// lines `NAME SIZE`, whatever follows on them, say what the columns are; otherwise a size is the largest class + 1. In an
/// `.npz` archive `ARRAY` may be left out when one array alone has such a type and dimensions, or when one of several is
/// called `images` or `imgs`, `latents_classes` or `factors`: both arguments are the same file for dSprites
/// (<https://github.com/google-deepmind/dsprites-dataset>).
///
/// # Errors
/// [`DataError`], naming `--data` or `--factors`.
///
/// ```no_run
/// let archive = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz";
/// let images = softurn_models::data::load_factor_images(archive, archive)?.reduced(2)?;
/// assert_eq!(images.factors().iter().map(|factor| factor.size).collect::<Vec<_>>(), [3, 6, 40, 32, 32]);
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
pub fn load_factor_images(data: &str, factors: &str) -> Result<FactorImages, DataError> {
    let integers =
        |header: &Header| header.shape.len() == 2 && header.element.is_some_and(|element| !element.is_float());
    let table = read(Argument::Factors, factors, &["latents_classes", "factors"], integers, array::read_table)?;
    let mut classes = Array2::zeros(table.dim());
    for ((row, column), &class) in table.indexed_iter() {
        let Some(class) = u32::try_from(class).ok().filter(|&class| class < u32::MAX) else {
            let (factor, size) = (unnamed(column), u32::MAX as usize);
            return Err(DataError::FactorClass { row, factor, class, size });
        };
        classes[(row, column)] = class;
    }
    let beside = Path::new(split(factors).0).with_file_name("factors.txt");
    let largest = |column| classes.column(column).iter().max().map_or(0, |&class: &u32| class as usize);
    let guessed = |column| Factor { name: unnamed(column), size: largest(column) + 1 };
    let factors = if beside.is_file() { read_names(&beside)? } else { (0..classes.ncols()).map(guessed).collect() };
    check_names(classes.ncols(), factors.len())?;

    let rows = classes.nrows() as u64;
    let expected = |images| if images == rows { Ok(()) } else { Err(DataError::FactorRows { rows, images }) };
    let (pixels, shape) = read_images(data, expected)?;
    FactorImages::new(data, pixels, shape, factors, classes)
}

/// Reads images, as [`load_factor_images`] does, in the order of the grid of their factors, whose last factor runs fastest:
/// such as MPI3D's (<https://github.com/rr-learning/disentanglement_dataset>), for which the sizes come with the data set.
///
/// # Errors
/// [`DataError`], naming `--data`; [`DataError::FactorGrid`] unless the product of `factor_sizes` is the number of images.
pub fn load_factor_grid(data: &str, factor_sizes: &[usize]) -> Result<FactorImages, DataError> {
    let product = combinations(factor_sizes.iter().copied());
    let expected = |images| match product {
        Some(product) if product == images && images > 0 => Ok(()),
        _ => Err(DataError::FactorGrid { sizes: factor_sizes.to_vec(), source_name: data.to_owned(), images }),
    };
    let (pixels, shape) = read_images(data, expected)?;
    let factors =
        factor_sizes.iter().enumerate().map(|(column, &size)| Factor { name: unnamed(column), size }).collect();
    FactorImages::new(data, pixels, shape, factors, grid(factor_sizes))
}

/// Square grey images of side `side` with a sprite each: a square, an ellipse or a heart, of 6 sizes, at 40 angles and 32 × 32
/// places. All 737,280 combinations of these five factors, none of which is kept: images are drawn when they are asked for,
/// by [`FactorImages::tensor`] on the device. About 27 MB go into the table of classes.
///
/// The grid is that of dSprites (Matthey, Higgins, Hassabis and Lerchner, 2017), the images are not: they are drawn anew by
/// the op [`sprites`], with smooth edges, and at 40 different angles where the files of dSprites have the first one twice.
/// Scores on both must not be compared. [`load_factor_images`] reads those files.
///
/// # Errors
/// [`DataError::SpriteSide`], naming `--data`, unless the side is from 8 to 1024.
///
/// ```
/// let images = softurn_models::data::sprites_grid(32)?;
/// assert_eq!(images.n_images(), 737_280);
/// let heart = images.row_of(&[2, 5, 10, 16, 16]).expect("the grid is full");
/// assert_eq!(images.rows(&[heart]).len(), 32 * 32);
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
pub fn sprites_grid(side: usize) -> Result<FactorImages, DataError> {
    if !(sprites::LEAST_SIDE..=LARGEST_SPRITE).contains(&side) {
        return Err(DataError::SpriteSide { side, least: sprites::LEAST_SIDE, largest: LARGEST_SPRITE });
    }
    let factors = sprites::FACTORS.iter().zip(sprites::SIZES).map(|(&name, size)| Factor { name: name.into(), size });
    let shape = ImageShape { height: side, width: side, channels: 1 };
    FactorImages::of("sprites".into(), Source::Drawn, shape, factors.collect(), grid(&sprites::SIZES))
}

/// The pixels of all images, once `expected` agrees to their number.
fn read_images(
    spec: &str,
    expected: impl Fn(u64) -> Result<(), DataError>,
) -> Result<(Vec<u8>, ImageShape), DataError> {
    let images = |header: &Header| matches!(header.shape.len(), 3 | 4) && header.element == Some(array::Element::U8);
    let (mut pixels, shape) = read(Argument::Data, spec, &["images", "imgs"], images, |stream, header| {
        let (n_images, shape) = array::image_shape(stream, header)?;
        expected(n_images)?;
        Ok((array::read_bytes(stream, header)?, shape))
    })?;
    if pixels.is_empty() {
        let (source_name, cols) = (spec.to_owned(), shape.len());
        return Err(DataError::Empty { argument: Argument::Data, source_name, rows: 0, cols });
    }
    if pixels.iter().all(|&pixel| pixel <= 1) {
        pixels.iter_mut().for_each(|pixel| *pixel *= 255);
    }
    Ok((pixels, shape))
}

/// Reads an array of any format that has arrays.
fn read<T>(
    argument: Argument,
    spec: &str,
    usual: &[&str],
    suits: impl Fn(&Header) -> bool,
    read: impl FnOnce(&mut Stream<'_>, &Header) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let (path, array) = split(spec);
    let origin = Origin::new(argument, path);
    match format_of(&origin)? {
        Format::Npz => {
            let mut archive = npz::Archive::open(origin)?;
            let array = archive.choose(array, usual, suits)?;
            archive.read(&array, read)
        }
        Format::Csv => Err(origin.malformed("expected an array (IDX, npy or npz), not a csv file")),
        format @ (Format::Idx | Format::Npy) => {
            no_names(&origin, array)?;
            let mut stream = Stream::open(origin)?;
            let header = read_header(&mut stream, format)?;
            read(&mut stream, &header)
        }
    }
}

/// The factors of a text file with a line `NAME SIZE ...` for each.
fn read_names(path: &Path) -> Result<Vec<Factor>, DataError> {
    let origin = Origin::new(Argument::Factors, &path.to_string_lossy());
    let text = fs::read_to_string(path).map_err(|error| origin.unreadable(error.to_string()))?;
    let factor = |line: &str| {
        let mut words = line.split_whitespace();
        let factor = words.next().zip(words.next().and_then(|size| size.parse().ok()));
        let (name, size) = factor.ok_or_else(|| origin.malformed(format!("line {line:?}, expected NAME SIZE")))?;
        Ok(Factor { name: name.to_owned(), size })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(factor).collect()
}

/// All combinations of classes, `[product of sizes, sizes.len()]`; the last factor runs fastest.
pub(super) fn grid(sizes: &[usize]) -> Array2<u32> {
    let rows = sizes.iter().product();
    let mut run = rows;
    let mut classes = Array2::zeros((rows, sizes.len()));
    for (mut column, size) in classes.columns_mut().into_iter().zip(sizes) {
        run /= size;
        column.iter_mut().enumerate().for_each(|(row, class)| *class = (row / run % size) as u32);
    }
    classes
}

fn unnamed(column: usize) -> String {
    format!("factor {}", column + 1)
}

fn check_names(columns: usize, factors: usize) -> Result<(), DataError> {
    if columns == factors {
        return Ok(());
    }
    Err(DataError::FactorTable {
        message: format!("names and sizes of {factors} factors for a table of {columns} columns"),
    })
}

fn combinations(mut sizes: impl Iterator<Item = usize>) -> Option<u64> {
    sizes.try_fold(1_u64, |product, size| product.checked_mul(size as u64))
}

/// The place of a combination in the grid.
fn code<'a>(factors: &[Factor], classes: impl IntoIterator<Item = &'a u32>) -> u64 {
    factors.iter().zip(classes).fold(0, |code, (factor, &class)| code * factor.size as u64 + u64::from(class))
}
