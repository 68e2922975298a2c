//! Tests of composition, reflection and the checks.
