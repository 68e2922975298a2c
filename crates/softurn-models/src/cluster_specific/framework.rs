//! What a method must say to get a head for each cluster.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Key, Tensor};

use super::{Undecided, Width};
use crate::Result;
use crate::data::Dataset;

/// Rows, each with the head that it goes through. The same row may come several times, with other heads.
#[derive(Debug)]
pub struct HeadRows {
    /// `[rows, columns]`; where the framework is [centred](Framework::centred), less the centre of each row's head.
    pub x: Tensor,
    /// What [`Framework::partners`] named, `[rows, columns]` each, centred alike.
    pub partners: Vec<Tensor>,
    /// The head of each row, for products.
    pub heads: Groups,
    /// The same as numbers, `[rows]` of `u32`.
    pub index: Tensor,
}

/// What is known of the fitted rows when partners are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    /// The head of each row.
    pub assignment: &'a [u32],
    /// The true class of each row, where known.
    pub classes: Option<&'a [u32]>,
}

/// Rows under all heads at once, block by block: those of head `j` from `j · n` on, where `n` rows have the assignment that comes with
/// them.
pub type Blocks<'a> = &'a mut dyn Iterator<Item = Result<(HeadRows, Vec<u32>)>>;

/// A way to learn representations from a loss of each row: settings that make `heads` copies of what is to be
/// cluster-specific, and one of what all clusters share.
///
/// [`ClusterSpecific`](super::ClusterSpecific) learns heads and assignment together. Implemented by
/// [`Autoencoder`](super::Autoencoder), [`VariationalAutoencoder`](super::VariationalAutoencoder),
/// [`Contrastive`](super::Contrastive) and [`BoltzmannMachine`](super::BoltzmannMachine); any other type can be plugged in.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use softurn_autodiff::{Param, Parameters, Tape, Var};
/// use softurn_kernels::ops::gather;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::cluster_specific::{ClusterSpecific, Framework, HeadRows};
/// use softurn_models::{Result, data};
///
/// /// Rows are represented by nothing but their cluster's centre: k-means.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// struct Centres;
///
/// impl Framework for Centres {
///     type Layers = ();
///     const NAME: &'static str = "centres";
///
///     fn layers(&self, parameters: &mut Parameters, [heads, _]: [usize; 2], _: Key) -> Result<()> {
///         // Something to learn, which changes nothing.
///         parameters.zeros("nothing", [heads])?;
///         Ok(())
///     }
///
///     fn losses<'t>(
///         &self,
///         _: &(),
///         tape: &'t Tape,
///         _: &Parameters,
///         rows: &HeadRows,
///         _: Option<Key>,
///     ) -> Result<Var<'t>> {
///         Ok(tape.leaf(&rows.x)?.square()?.sum_cols()?)
///     }
///
///     fn encode<'t>(&self, _: &(), tape: &'t Tape, _: &Parameters, rows: &HeadRows) -> Result<Var<'t>> {
///         Ok(tape.constant(&rows.x))
///     }
/// }
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let fitted = ClusterSpecific::params(3, Centres).epochs(20).check()?.fit(&gpu, &data::iris(), Key::new(0))?;
/// assert_eq!(fitted.labels().len(), 150);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Framework: Clone + PartialEq + Debug + Serialize + DeserializeOwned {
    /// Names of its parameters.
    type Layers: Debug;

    /// How saved models are told apart.
    const NAME: &'static str;

    /// The names of parameters that no gradient learns, as [`Framework::settle`] keeps them; by default there are none.
    const STATE: &'static [&'static str] = &[];

    /// Whether its losses teach something without partners, as a [warm-up](super::Params::warm_up) has none; by default they do.
    const WARMS_UP: bool = true;

    /// Checks the settings that do not depend on data, for so many heads; by default there is nothing to check.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    fn check(&self, _heads: usize) -> Result<()> {
        Ok(())
    }

    /// Checks that it can learn from these data; by default it can.
    ///
    /// # Errors
    /// Names the setting or `data`.
    fn check_data(&self, _data: &Dataset) -> Result<()> {
        Ok(())
    }

    /// Its layers from the columns on, which must fit the adapter; by default none are checked.
    fn widths(&self) -> Vec<Width> {
        Vec::new()
    }

    /// Makes the parameters of so many heads for rows of so many columns. The names `centres`, `assignment` and `chosen` are taken.
    ///
    /// # Errors
    /// When a layer is too large for the adapter.
    fn layers(&self, parameters: &mut Parameters, heads_and_columns: [usize; 2], key: Key) -> Result<Self::Layers>;

    /// Whether rows come less the centre of their head; by default they do.
    fn centred(&self) -> bool {
        true
    }

    /// The loss of each row in its head, `[rows]`; the mean is minimised. Noise is drawn from the key; without one there is none.
    ///
    /// # Errors
    /// Those of the kernels.
    fn losses<'t>(
        &self,
        layers: &Self::Layers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Option<Key>,
    ) -> Result<Var<'t>>;

    /// By what rows choose their head, `[rows]`: the lowest wins. By default the loss without noise. No partners are there.
    ///
    /// # Errors
    /// Those of the kernels.
    fn assignment_losses<'t>(
        &self,
        layers: &Self::Layers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        _key: Key,
    ) -> Result<Var<'t>> {
        self.losses(layers, tape, parameters, rows, None)
    }

    /// [`Framework::assignment_losses`] of rows under all heads, `[heads · rows]`, for frameworks that need no copy of the rows for each; by
    /// default they are copied.
    ///
    /// # Errors
    /// Those of the kernels.
    fn losses_of_all_heads<'t>(
        &self,
        layers: &Self::Layers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &Undecided<'_>,
        key: Key,
    ) -> Result<Var<'t>> {
        self.assignment_losses(layers, tape, parameters, &rows.under_all()?, key)
    }

    /// What fits of the same settings are compared by, `[rows]`, of rows in their own heads, with their partners: the lower mean is the
    /// better fit. Without it, as by default, it is what rows choose their heads by, which must then mean the same in every fit.
    ///
    /// # Errors
    /// Those of the kernels.
    fn objective_losses<'t>(
        &self,
        _layers: &Self::Layers,
        _tape: &'t Tape,
        _parameters: &Parameters,
        _rows: &HeadRows,
        _key: Key,
    ) -> Result<Option<Var<'t>>> {
        Ok(None)
    }

    /// The representation of each row in its head, `[rows, dimensions]`. Those of different heads are not comparable.
    ///
    /// # Errors
    /// Those of the kernels.
    fn encode<'t>(
        &self,
        layers: &Self::Layers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>>;

    /// Other rows that the loss compares `rows` with: lists as long as `rows`. By default none.
    fn partners(&self, _rows: &[u32], _members: Members<'_>, _key: Key) -> Vec<Vec<u32>> {
        Vec::new()
    }

    /// Called before rows choose their heads, with all rows: for what [`Framework::assignment_losses`] wants to know of the clusters. What
    /// is kept must be in the parameters. By default nothing is.
    ///
    /// # Errors
    /// Those of the kernels.
    fn settle(&self, _layers: &Self::Layers, _parameters: &mut Parameters, _blocks: Blocks<'_>) -> Result<()> {
        Ok(())
    }
}

/// A framework that makes rows again from their representations.
pub trait Reconstructs: Framework {
    /// Rows made again, `[rows, columns]`; where the framework is [centred](Framework::centred), less their centres.
    ///
    /// # Errors
    /// Those of the kernels.
    fn reconstruct<'t>(
        &self,
        layers: &Self::Layers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>>;
}
