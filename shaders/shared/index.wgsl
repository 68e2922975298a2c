// Where an invocation stands in a dispatch that was folded into two dimensions (a dimension holds 65,535 workgroups).

fn linear_id(global: vec3<u32>, groups: vec3<u32>, size: u32) -> u32 {
  return global.x + global.y * groups.x * size;
}

fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
  return group.x + group.y * groups.x;
}
