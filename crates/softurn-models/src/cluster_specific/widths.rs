//! Whether the layers of a framework fit the adapter, before anything of that size is made.

use softurn_kernels::Gpu;

use crate::Result;
use crate::clustering::fits;

/// A layer of an encoder, or of what makes rows again; each takes what the one before it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// The setting that says how wide it is.
    pub setting: &'static str,
    /// Numbers that it gives.
    pub outputs: usize,
    /// Whether each head has one of its own.
    pub own: bool,
}

/// Checks the weights of all layers, and what they make of so many rows under all heads; the first layer takes the columns.
pub(super) fn check(gpu: &Gpu, widths: &[Width], [heads, columns]: [usize; 2], rows: usize) -> Result<()> {
    let product = |factors: [usize; 3]| {
        let product = factors.iter().fold(1u128, |product, &factor| product.saturating_mul(factor as u128));
        // Beyond all limits, and small enough to count bytes.
        product.min(u128::from(u64::MAX))
    };
    let mut inputs = columns;
    for &Width { setting, outputs, own } in widths {
        fits(gpu, setting, "a layer", product([if own { heads } else { 1 }, inputs, outputs]))?;
        fits(gpu, setting, "a batch under all heads", product([rows, heads, outputs]))?;
        inputs = outputs;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use softurn_kernels::{Gpu, GpuConfig};

    use super::{Width, check};
    use crate::cluster_specific::{Autoencoder, BoltzmannMachine, Contrastive, Framework, VariationalAutoencoder};

    #[test]
    fn layers_beyond_the_adapter_are_refused_by_the_setting() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let most = (gpu.capabilities().max_binding_bytes / 4) as usize;
        let width = |outputs, own| Width { setting: "hidden", outputs, own };
        // A shared layer is there once, one of each head as often as there are heads.
        assert!(check(&gpu, &[width(most / 10, false)], [5, 10], 1).is_ok());
        for (widths, rows) in [
            (vec![width(most / 10, true)], 1),
            (vec![width(2, true), width(most / 2 + 1, false)], 1),
            (vec![width(most / 10, false)], 3),
            (vec![width(usize::MAX, true), width(usize::MAX, true)], usize::MAX),
        ] {
            let message = check(&gpu, &widths, [5, 10], rows).unwrap_err().to_string();
            assert!(message.starts_with("hidden:") && message.contains("the adapter's limit"), "{message}");
        }
        let huge = 1 << 40;
        for (name, widths) in [
            ("widths", Autoencoder::new([4, huge]).shared(1).widths()),
            ("latent", VariationalAutoencoder::new(huge).widths()),
            ("dimensions", Contrastive::new(huge).widths()),
            ("hidden", BoltzmannMachine::new(huge).widths()),
        ] {
            let message = check(&gpu, &widths, [2, 10], 1).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}:")), "{message}");
        }
    }
}
