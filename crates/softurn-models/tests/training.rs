//! What a training step moves: after the first epochs nothing is allocated or created, and an epoch uploads its row
//! numbers and reads its losses back.

use softurn_kernels::{Gpu, GpuConfig, Key};
use softurn_models::clustering::variational::{Prior, Variational};
use softurn_models::data;
use softurn_models::train::{Event, Session};

#[test]
fn an_epoch_uploads_row_numbers_and_allocates_nothing() {
    let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    let digits = data::digits();
    let epochs = 8;
    for prior in [Prior::Uniform, Prior::Categorical, Prior::Hypergeometric, Prior::Exchangeable] {
        let method = Variational::params(10).prior(prior).pretrain_epochs(epochs).epochs(epochs).check().unwrap();
        let mut seen = Vec::new();
        let mut observer = |event: &Event| {
            if let Event::Epoch { index, losses, .. } = event {
                assert!(losses.iter().all(|(_, loss)| loss.is_finite()));
                seen.push((*index, losses.len(), gpu.counters(), gpu.pool_statistics()));
            }
        };
        let mut session = Session { observer: Some(&mut observer), ..Session::default() };
        method.fit_with(&gpu, &digits, Key::new(1), &mut session).unwrap();
        // Contrast and clustering, each with its last epoch after seven to settle; 7 steps of 256 rows and neighbours.
        for phase in [0, 2] {
            let epochs: Vec<_> = seen.iter().filter(|(index, ..)| *index == phase).collect();
            let [.., (_, losses, before, pool_before), (_, _, after, pool_after)] = epochs[..] else {
                panic!("{} epochs", epochs.len());
            };
            let moved = after.since(before);
            assert_eq!(pool_after.created, pool_before.created, "{prior:?}, phase {phase}: new buffers");
            // The metrics at the end of an epoch of clustering bring the log-proportions of 10 groups, and read labels.
            let metrics = if phase == 2 { 10 * 4 } else { 0 };
            assert!(moved.uploaded_bytes <= 7 * 512 * 4 + metrics, "{prior:?}, phase {phase}: {moved:?}");
            let history = 7 * *losses as u64 * 64 * 4;
            assert!(phase == 2 || moved.read_back_bytes == history, "{prior:?}, phase {phase}: {moved:?}");
            // Metrics between the epochs leave the pool's buffers in another order.
            let created = if phase == 0 { 0 } else { moved.dispatches / 5 };
            assert!(moved.bind_groups <= created, "{prior:?}, phase {phase}: {moved:?}");
        }
    }
}
