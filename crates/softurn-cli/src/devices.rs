//! `softurn devices`: the adapters of this machine and the limits that decide what fits.

use serde::Serialize;

use crate::failure::Result;

/// One adapter.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// What `--adapter` accepts beside the name.
    pub index: usize,
    /// The adapter's own name; any part of it selects the adapter.
    pub name: String,
    /// Vulkan, Metal, Dx12 ...
    pub backend: String,
    /// Discrete GPU, integrated GPU, CPU ...
    pub kind: String,
    /// Driver name and version.
    pub driver: String,
    /// Named limits, in the order in which they are shown.
    pub limits: Vec<(String, u64)>,
}

/// All adapters of this machine.
pub fn list() -> Result<Vec<Device>> {
    let adapters = softurn::available_adapters().into_iter().enumerate();
    Ok(adapters
        .map(|(index, adapter)| Device {
            index,
            limits: vec![
                ("largest tensor in bytes".into(), adapter.max_binding_bytes),
                ("largest buffer in bytes".into(), adapter.max_buffer_bytes),
                ("workgroup memory in bytes".into(), adapter.max_workgroup_bytes.into()),
                ("invocations of a workgroup".into(), adapter.max_workgroup_invocations.into()),
            ],
            name: adapter.name,
            backend: adapter.backend,
            kind: adapter.device_type,
            driver: adapter.driver,
        })
        .collect())
}

/// The list as text, or as one JSON array.
pub fn render(devices: &[Device], json: bool) -> String {
    if json {
        return serde_json::to_string(devices).unwrap_or_default();
    }
    if devices.is_empty() {
        return "no adapter found; on Debian: apt-get install mesa-vulkan-drivers".into();
    }
    let mut text = String::new();
    for device in devices {
        text += &format!("{}  {}\n", device.index, device.name);
        text += &format!("   {}, {}, {}\n", device.backend, device.kind, device.driver);
        for (name, value) in &device.limits {
            text += &format!("   {name:<34} {value:>14}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json() {
        let devices = [Device {
            index: 0,
            name: "llvmpipe".into(),
            backend: "Vulkan".into(),
            kind: "CPU".into(),
            driver: "Mesa 22.3".into(),
            limits: vec![("max_storage_buffer_binding_size".into(), 134_217_728)],
        }];
        let text = render(&devices, false);
        assert!(text.starts_with("0  llvmpipe\n   Vulkan, CPU, Mesa 22.3\n"), "{text}");
        assert!(text.contains("134217728"));
        let json: serde_json::Value = serde_json::from_str(&render(&devices, true)).expect("JSON");
        assert_eq!(json[0]["backend"], "Vulkan");
        assert!(render(&[], false).contains("mesa-vulkan-drivers"));
    }
}
