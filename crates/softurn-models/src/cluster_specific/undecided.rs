//! Rows that are to choose a head.

use ndarray::{Array1, Array2, ArrayView1, Axis};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::gather;
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Gpu, Tensor};

use super::framework::HeadRows;
use crate::Result;
use crate::train::Rows;

/// Rows that are to choose a head, of which their losses are asked under each. There are `heads · rows` such pairs: those of head `j` from
/// `j · rows` on.
#[derive(Debug)]
pub struct Undecided<'a> {
    /// The rows as they are, `[rows, columns]`.
    pub x: Tensor,
    /// The centres of the heads, `[heads, columns]`; zeros where the framework is not [centred](super::Framework::centred).
    pub centres: Tensor,
    /// The mean of all rows, `[columns]`: sums of squares lose fewer digits with their origin there.
    pub origin: Tensor,
    /// `‖x - origin‖²` of each row, `[rows]`.
    pub squares: Tensor,
    /// Whether the rows spread over at least a hundredth of their distance from zero: products of rows themselves are then good to some
    /// digits less than those of differences.
    pub(super) near_zero: bool,
    pub(super) centred: bool,
    pub(super) every: &'a Every,
}

impl Undecided<'_> {
    /// The row of each pair, `[heads · rows]` of `u32`.
    pub fn rows(&self) -> &Tensor {
        &self.every.rows
    }

    /// The head of each pair, `[heads · rows]` of `u32`.
    pub fn heads(&self) -> &Tensor {
        &self.every.heads
    }

    /// Where each pair is in the order `row · heads + head`, `[heads · rows]` of `u32`: that of `[rows, heads · n]` as
    /// `[rows · heads, n]`.
    pub fn by_rows(&self) -> &Tensor {
        &self.every.by_rows
    }

    /// The heads of the pairs, for products.
    pub fn groups(&self) -> &Groups {
        &self.every.groups
    }

    /// A copy of the rows for each head, less its centre where the framework wants that.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn under_all(&self) -> Result<HeadRows> {
        self.every.under_all(&self.x, self.centred.then_some(&self.centres))
    }
}

/// Rows less the centres of their heads.
pub(super) fn less_centres(centres: &Tensor, x: &Tensor, heads: &Tensor) -> Result<Tensor> {
    let centres = gather::forward(x.gpu(), centres, heads)?;
    Ok(binary::forward(x.gpu(), Binary::Sub, x, &centres)?)
}

/// A number of rows under all heads.
#[derive(Debug, Clone)]
pub(super) struct Every {
    /// Row and head of each, head after head.
    pub(super) rows: Tensor,
    pub(super) heads: Tensor,
    /// Where each is when rows come after each other.
    pub(super) by_rows: Tensor,
    pub(super) groups: Groups,
}

impl Every {
    pub(super) fn new(gpu: &Gpu, rows: usize, heads: usize) -> Result<Self> {
        let all = rows * heads;
        let numbers = |number: &dyn Fn(usize) -> usize| -> Result<Tensor> {
            Ok(gpu.tensor(&(0..all).map(|at| number(at) as u32).collect::<Vec<u32>>(), [all])?)
        };
        Ok(Self {
            rows: numbers(&|at| at % rows)?,
            heads: numbers(&|at| at / rows)?,
            by_rows: numbers(&|at| at % rows * heads + at / rows)?,
            groups: Groups::every(gpu, rows, heads)?,
        })
    }

    /// A copy of rows for each head, less these centres.
    pub(super) fn under_all(&self, x: &Tensor, centres: Option<&Tensor>) -> Result<HeadRows> {
        let mut x = gather::forward(x.gpu(), x, &self.rows)?;
        if let Some(centres) = centres {
            x = less_centres(centres, &x, &self.heads)?;
        }
        Ok(HeadRows { x, partners: Vec::new(), heads: self.groups.clone(), index: self.heads.clone() })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len() / self.groups.heads()
    }
}

/// The rows of a data set, in blocks that are to choose their heads.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) rows: Rows,
    /// Rows of a block.
    length: usize,
    origin: Tensor,
    near_zero: bool,
    /// With the squared distances of the rows from the origin.
    blocks: Vec<(Every, Tensor)>,
}

impl Blocks {
    /// Blocks of so many rows, the last of what is left.
    pub(super) fn new(gpu: &Gpu, x: &Array2<f32>, length: usize, heads: usize) -> Result<Self> {
        let origin = x.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(x.ncols()));
        let mut blocks: Vec<(Every, Tensor)> = Vec::new();
        let mut spread = 0.0;
        for x in x.axis_chunks_iter(Axis(0), length) {
            let again = blocks.first().map(|(first, _)| first).filter(|first| first.rows() == x.nrows()).cloned();
            let every = again.map_or_else(|| Every::new(gpu, x.nrows(), heads), Ok)?;
            let square = |row: ArrayView1<'_, f32>| {
                row.iter().zip(&origin).map(|(&x, &o)| (f64::from(x) - f64::from(o)).powi(2)).sum::<f64>() as f32
            };
            let squares: Vec<f32> = x.outer_iter().map(square).collect();
            spread += squares.iter().map(|&square| f64::from(square)).sum::<f64>();
            blocks.push((every, gpu.tensor(&squares, [squares.len()])?));
        }
        let from_zero = origin.iter().map(|&origin| f64::from(origin).powi(2)).sum::<f64>() * x.nrows() as f64;
        let near_zero = from_zero <= 1e4 * spread;
        let origin = gpu.tensor(&origin.to_vec(), [x.ncols()])?;
        Ok(Self { rows: Rows::new(gpu, x)?, length, origin, near_zero, blocks })
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.blocks.iter().map(|(every, _)| every.rows()).sum()
    }

    /// The blocks, where heads have these centres.
    pub(super) fn undecided<'a>(
        &'a self,
        centres: &'a Tensor,
        centred: bool,
    ) -> impl Iterator<Item = Result<Undecided<'a>>> + 'a {
        self.rows.blocks(self.length).zip(&self.blocks).map(move |(x, (every, squares))| {
            let (origin, squares) = (self.origin.clone(), squares.clone());
            let (centres, near_zero) = (centres.clone(), self.near_zero);
            Ok(Undecided { x: x?, centres, origin, squares, near_zero, centred, every })
        })
    }
}
