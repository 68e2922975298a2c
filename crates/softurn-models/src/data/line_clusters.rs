//! Made data whose clusters lie along lines: k-means cuts the lines, a subspace for each cluster does not.
//!
//! The four sets of Sabanayagam, Al-Dabooni and Esser, "Cluster specific representation learning" (arXiv 2412.03471), with the
//! numbers of numpy's legacy `RandomState(0)`: for each cluster in turn `multivariate_normal`, then three columns of noise of
//! deviation 0.1. They are drawn here and not embedded, so that how the clusters are made can be read.

use std::f64::consts::FRAC_1_SQRT_2 as R;

use ndarray::Array2;

use super::{DataError, Dataset, Labels};

/// A set of clusters along lines.
///
/// ```
/// use softurn_models::data::LineClusters;
///
/// let data = LineClusters::Lines3d.dataset()?;
/// assert_eq!((data.rows(), data.cols(), data.labels().map(|labels| labels.classes())), (300, 6, Some(3)));
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineClusters {
    /// Two parallel lines of 75 rows, 5 columns.
    ParallelLine,
    /// Two lines at right angles of 75 rows, 5 columns.
    Orthogonal,
    /// Two lines and a wider one, the sides of a triangle, of 50 rows each; 5 columns.
    Triangle,
    /// Three lines along the axes of space of 100 rows each; 6 columns.
    Lines3d,
}

/// A mean, and the axes of the covariance: variance and direction, largest first. Signs of directions are those that LAPACK gave numpy;
/// others give the same law, these the same numbers.
struct Cluster {
    mean: &'static [f64],
    axes: &'static [(f64, &'static [f64])],
}

const UP: [(f64, &[f64]); 2] = [(9.9, &[-R, -R]), (0.1, &[-R, R])];

const PARALLEL: [(f64, &[f64]); 2] = [(9.95, &[-R, -R]), (0.05, &[-R, R])];

/// Of the covariance with variance 3 on one axis and 0.01 everywhere else: its two variances that are not 0, and the elements of their
/// directions on and off the axis.
const LONG: f64 = 3.000_067_112_573_77;
const SHORT: f64 = 0.019_932_887_426_230_1;
const LONG_ON: f64 = 0.999_988_739_943_356;
const LONG_OFF: f64 = 0.003_355_591_341_286_166;
const SHORT_ON: f64 = 0.004_745_522_784_628_62;
const SHORT_OFF: f64 = 0.707_098_819_124_138;

/// Columns of noise behind the others, and its deviation.
const NOISE: (usize, f64) = (3, 0.1);

impl LineClusters {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ParallelLine, Self::Orthogonal, Self::Triangle, Self::Lines3d];

    /// What the papers call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ParallelLine => "parallel_line",
            Self::Orthogonal => "orthogonal",
            Self::Triangle => "triangle",
            Self::Lines3d => "lines_3D",
        }
    }

    /// Rows of each cluster, and the clusters.
    fn clusters(self) -> (usize, &'static [Cluster]) {
        match self {
            Self::ParallelLine => (
                75,
                &[Cluster { mean: &[-1.0, -1.0], axes: &PARALLEL }, Cluster { mean: &[4.0, -2.0], axes: &PARALLEL }],
            ),
            Self::Orthogonal => (
                75,
                &[
                    Cluster { mean: &[-1.0, -1.0], axes: &UP },
                    Cluster { mean: &[7.0, 7.0], axes: &[(9.9, &[-R, R]), (0.1, &[R, R])] },
                ],
            ),
            Self::Triangle => (
                50,
                &[
                    Cluster { mean: &[-1.0, -1.0], axes: &UP },
                    Cluster { mean: &[6.0, 6.0], axes: &[(9.5, &[-R, R]), (0.5, &[R, R])] },
                    Cluster { mean: &[5.0, -5.0], axes: &[(7.0, &[1.0, 0.0]), (1.0, &[0.0, 1.0])] },
                ],
            ),
            Self::Lines3d => (
                100,
                &[
                    Cluster {
                        mean: &[2.0, 0.0, 0.0],
                        axes: &[
                            (LONG, &[-LONG_ON, -LONG_OFF, -LONG_OFF]),
                            (SHORT, &[SHORT_ON, -SHORT_OFF, -SHORT_OFF]),
                            (0.0, &[0.0; 3]),
                        ],
                    },
                    Cluster {
                        mean: &[0.0, 0.0, 4.0],
                        axes: &[
                            (LONG, &[-LONG_OFF, -LONG_ON, -LONG_OFF]),
                            (SHORT, &[SHORT_OFF, -SHORT_ON, SHORT_OFF]),
                            (0.0, &[0.0; 3]),
                        ],
                    },
                    Cluster {
                        mean: &[2.0, 2.0, 3.0],
                        axes: &[
                            (LONG, &[-LONG_OFF, -LONG_OFF, -LONG_ON]),
                            (SHORT, &[-SHORT_OFF, -SHORT_OFF, SHORT_ON]),
                            (0.0, &[0.0; 3]),
                        ],
                    },
                ],
            ),
        }
    }

    /// The rows, with the number of the cluster of each as label.
    ///
    /// # Errors
    /// None that an input could cause.
    pub fn dataset(self) -> Result<Dataset, DataError> {
        let (each, clusters) = self.clusters();
        let dims = clusters[0].mean.len();
        let mut random = RandomState::new(0);
        let mut values = Array2::zeros((each * clusters.len(), dims + NOISE.0));
        for (i, cluster) in clusters.iter().enumerate() {
            for mut row in values.outer_iter_mut().skip(i * each).take(each) {
                for &(variance, direction) in cluster.axes {
                    let along = random.normal() * variance.sqrt();
                    row.iter_mut().zip(direction).for_each(|(value, part)| *value += along * part);
                }
                row.iter_mut().zip(cluster.mean).for_each(|(value, mean)| *value += mean);
            }
            for mut row in values.outer_iter_mut().skip(i * each).take(each) {
                row.iter_mut().skip(dims).for_each(|value| *value = NOISE.1 * random.normal());
            }
        }
        let labels: Vec<i64> = (0..values.nrows()).map(|row| (row / each) as i64).collect();
        Dataset::table(self.name(), values.mapv(|value| value as f32))?.with_labels(Labels::from_integers(&labels))
    }
}

/// numpy's legacy generator: the Mersenne twister MT19937 (Matsumoto and Nishimura 1998), and normals by Marsaglia's polar method.
struct RandomState {
    state: [u32; 624],
    at: usize,
    /// The second normal of a pair.
    kept: Option<f64>,
}

impl RandomState {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, at: 624, kept: None }
    }

    fn bits(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 53 bits, on `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let [x, y] = [2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0];
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.kept = Some(factor * x);
                return factor * y;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last row, means of the columns and the sum of squares, as numpy 2.4.6 makes them.
    #[test]
    fn rows_are_those_of_numpy() {
        let close = |name: &str, found: f64, expected: f64| {
            assert!((found - expected).abs() < 5e-6 * (1.0 + expected.abs()), "{name}: {found}, not {expected}");
        };
        let expected: [([&[f64]; 3], f64); 4] = [
            (
                [
                    &[-4.99793766, -4.87139684, -0.00682416, 0.17133427, -0.07447548],
                    &[5.94454245, 0.02110687, 0.07200338, -0.18242567, 0.03036039],
                    &[1.56330168, -1.40803061, -0.01225654, -0.01854133, -0.00989907],
                ],
                3375.866408,
            ),
            (
                [
                    &[-5.01424657, -4.83529083, -0.00682416, 0.17133427, -0.07447548],
                    &[9.03197563, 5.07630281, 0.07200338, -0.18242567, 0.03036039],
                    &[3.04768564, 2.88265868, -0.01225654, -0.01854133, -0.00989907],
                ],
                9135.084664,
            ),
            (
                [
                    &[-5.01424657, -4.83529083, 0.18831507, -0.13477591, -0.12704850],
                    &[2.53903721, -5.17858909, 0.07200338, -0.18242567, 0.03036039],
                    &[3.29632132, -0.23534817, -0.01365557, -0.00720673, 0.00167819],
                ],
                7441.559688,
            ),
            (
                [
                    &[-1.05515996, -0.05020096, -0.05020096, -0.13065269, 0.16581307, -0.01181640],
                    &[2.10918625, 2.10918625, 3.42673580, 0.01834503, -0.04707425, 0.02727964],
                    &[1.26941962, 0.69772591, 2.34821306, 0.00319721, -0.00276338, -0.00041103],
                ],
                4586.722865,
            ),
        ];
        for (set, ([first, last, means], squares)) in LineClusters::ALL.into_iter().zip(expected) {
            let (data, name) = (set.dataset().unwrap(), set.name());
            let x = data.features().mapv(f64::from);
            for (row, expected) in [(x.row(0), first), (x.row(x.nrows() - 1), last)] {
                row.iter().zip(expected).for_each(|(&found, &expected)| close(name, found, expected));
            }
            x.mean_axis(ndarray::Axis(0))
                .unwrap()
                .iter()
                .zip(means)
                .for_each(|(&found, &mean)| close(name, found, mean));
            close(name, x.iter().map(|value| value * value).sum(), squares);
            let labels = data.labels().unwrap();
            assert_eq!(labels.counts(), vec![x.nrows() / labels.classes(); labels.classes()], "{name}");
        }
    }
}
