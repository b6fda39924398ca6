//! Work that the host does for a tenant.

use super::{Attack, log};

/// Large answers, compressed by the host.
pub const BROTLI: Attack = Attack {
    name: "answers of 8 MiB that the host compresses with brotli",
    quota: "instances = 8, memory = \"256MiB\", cpu-per-second = \"200ms\"",
    route: "middlewares = [\"squeeze\"]",
    sections: |_| "[middleware.squeeze]\ntype = \"compression\"\n".to_owned(),
    run: |target| log::ask(target, 8, "/response/text?mib=8"),
    ..Attack::NONE
};
