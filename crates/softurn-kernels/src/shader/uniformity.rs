//! Barriers must stand in uniform control flow, which neither wgpu nor naga checks.
