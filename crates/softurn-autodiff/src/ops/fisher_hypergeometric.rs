//! Fisher's noncentral hypergeometric law: straight-through draws and log-probabilities. Both save the tables and the
//! counts; draws also the key, from which the relaxation is made again.

use softurn_kernels::ops::fisher_hypergeometric::{self, Tables};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::{Gpu, Key, Tensor};

use super::{only, valid_temperature};
use crate::{Result, Rule, Var};

struct Draw {
    tables: Tables,
    counts: Tensor,
    key: Key,
    temperature: f32,
}

impl Rule for Draw {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let rows =
            fisher_hypergeometric::backward(gpu, &self.tables, &self.counts, only(dy)?, self.key, self.temperature)?;
        Ok(vec![Some(of_weights(gpu, &self.tables, rows)?)])
    }
}

struct Score {
    tables: Tables,
    counts: Tensor,
}

impl Rule for Score {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let rows = fisher_hypergeometric::log_prob_backward(gpu, &self.tables, &self.counts, only(dy)?)?;
        Ok(vec![Some(of_weights(gpu, &self.tables, rows)?)])
    }
}

/// Shared weights get the sum of the rows' gradients.
fn of_weights(gpu: &Gpu, tables: &Tables, rows: Tensor) -> Result<Tensor> {
    if tables.weight_rows() != 1 {
        return Ok(rows);
    }
    let groups = tables.urn().groups();
    Ok(reduce::over_rows(gpu, Reduction::Sum, &rows)?.reshape([1, groups])?)
}

impl Var<'_> {
    /// With this as the log weights `[1, groups]` or `[rows, groups]` that `tables` were made of: exact draws
    /// `[rows, groups]`, whose gradient is that of the relaxation at `temperature` (straight-through).
    ///
    /// # Errors
    /// When `rows` does not fit weights per row, or the temperature is not positive.
    pub fn fisher_hypergeometric_rsample(
        &self,
        tables: &Tables,
        rows: usize,
        key: Key,
        temperature: f32,
    ) -> Result<Self> {
        valid_temperature("fisher_hypergeometric_rsample", temperature)?;
        let counts = fisher_hypergeometric::forward(self.tape().gpu(), tables, rows, key)?;
        let rule = Draw { tables: tables.clone(), counts: counts.clone(), key, temperature };
        let [counts] = self.tape().record("fisher_hypergeometric_rsample", &[self], [counts], rule)?;
        Ok(counts)
    }

    /// With this as the log weights that `tables` were made of: `log P(counts)` in nats, `[rows]`, for counts
    /// `[rows, groups]`; a pure score.
    ///
    /// # Errors
    /// When the shape of the counts does not fit.
    pub fn fisher_hypergeometric_log_prob(&self, tables: &Tables, counts: &Tensor) -> Result<Self> {
        let score = fisher_hypergeometric::log_prob(self.tape().gpu(), tables, counts)?;
        let rule = Score { tables: tables.clone(), counts: counts.clone() };
        let [score] = self.tape().record("fisher_hypergeometric_log_prob", &[self], [score], rule)?;
        Ok(score)
    }
}
