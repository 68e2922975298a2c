//! Lloyd steps on a table of losses `[heads, rows]`.

use ndarray::{Array2, ArrayView2, Axis};

/// The head with the lowest loss of each row, of equal ones the first; what is no number counts as higher than any.
pub(super) fn lowest<T: Copy + PartialOrd>(losses: ArrayView2<'_, T>) -> Vec<u32> {
    let below = |a: T, b: T| a < b || b.partial_cmp(&b).is_none();
    let best = |row: ndarray::ArrayView1<'_, T>| {
        (1..row.len()).fold(0, |best, j| if below(row[j], row[best]) { j } else { best })
    };
    losses.axis_iter(Axis(1)).map(|row| best(row) as u32).collect()
}

/// Gives each head without rows the row whose loss in its own head is highest, from a head that keeps another. Without one, as where
/// there are fewer rows than heads, it stays without.
pub(super) fn refill<T: Copy + PartialOrd>(losses: ArrayView2<'_, T>, labels: &mut [u32]) {
    let mut sizes = vec![0usize; losses.nrows()];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    for head in 0..sizes.len() {
        if sizes[head] > 0 {
            continue;
        }
        let own = |row: usize| losses[[labels[row] as usize, row]];
        let movable = (0..labels.len()).filter(|&row| sizes[labels[row] as usize] > 1);
        let Some(worst) = movable.reduce(|worst, row| if own(row) > own(worst) { row } else { worst }) else { return };
        sizes[labels[worst] as usize] -= 1;
        labels[worst] = head as u32;
        sizes[head] = 1;
    }
}

/// The means of the rows of each head, `[heads, columns]`; a head without rows keeps what it had.
pub(super) fn means(x: ArrayView2<'_, f32>, labels: &[u32], before: &Array2<f32>) -> Array2<f32> {
    let (mut sums, mut counts) = (Array2::<f64>::zeros(before.dim()), vec![0.0f64; before.nrows()]);
    for (row, &label) in x.outer_iter().zip(labels) {
        sums.row_mut(label as usize).zip_mut_with(&row, |sum, &value| *sum += f64::from(value));
        counts[label as usize] += 1.0;
    }
    Array2::from_shape_fn(before.dim(), |(head, column)| match counts[head] {
        0.0 => before[[head, column]],
        count => (sums[[head, column]] / count) as f32,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn rows_join_their_lowest_loss_and_no_head_stays_empty() {
        let losses = array![[1.0, 5.0, 2.0, 0.0], [2.0, 6.0, 1.0, 0.0], [9.0, 9.0, 9.0, 9.0]];
        let mut labels = lowest(losses.view());
        assert_eq!(labels, [0, 0, 1, 0]);
        // Row 1 has the highest loss and is not alone in its head.
        refill(losses.view(), &mut labels);
        assert_eq!(labels, [0, 2, 1, 0]);
        // Two rows cannot fill three heads.
        let mut labels = lowest(losses.slice(ndarray::s![.., ..2]));
        refill(losses.slice(ndarray::s![.., ..2]), &mut labels);
        assert_eq!(labels, [0, 1]);
    }

    #[test]
    fn centres_are_means_and_those_of_empty_heads_stay() {
        let x = array![[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]];
        let means = means(x.view(), &[2, 2, 0], &array![[0.0, 0.0], [7.0, 8.0], [0.0, 0.0]]);
        assert_eq!(means, array![[5.0, 5.0], [7.0, 8.0], [2.0, 4.0]]);
    }
}
