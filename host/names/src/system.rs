//! The machine's configuration for names: `/etc/hosts` and `/etc/resolv.conf`.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// The most open questions on one TCP connection to a server: more than there are look-ups, so that none is refused
/// because of others.
const OPEN_QUESTIONS: usize = 4096;

/// The paths of the files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) hosts: PathBuf,
    pub(crate) servers: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), servers: "/etc/resolv.conf".into() }
    }
}

impl Files {
    /// The metadata that distinguishes versions of the files.
    pub(crate) fn stamps(&self) -> [Option<(u64, u64, i64, i64)>; 2] {
        [&self.hosts, &self.servers].map(|path| {
            let data = fs::metadata(path).ok()?;
            Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
        })
    }
}

/// The machine's configuration, and the resolver for all other names.
pub(crate) struct System {
    hosts: Hosts,
    /// The suffixes that are tried for a name with fewer dots than `ndots`.
    search: Vec<Name>,
    dots: usize,
    /// The resolver, or the reason why there is none.
    pub(crate) resolver: Result<TokioResolver, String>,
}

impl System {
    /// Reads the files; `servers` replace those of the files, if there are any.
    pub(crate) fn read(files: &Files, servers: &[SocketAddr]) -> Self {
        let mut hosts = Hosts::default();
        if let Err(error) = File::open(&files.hosts).and_then(|file| hosts.read_hosts_conf(file))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot read {}: {error}", files.hosts.display());
        }
        let configured = match servers {
            [] => fs::read(&files.servers).map_err(NetError::from).and_then(parse_resolv_conf),
            servers => {
                Ok((ResolverConfig::from_parts(None, vec![], servers.iter().map(server).collect()), Default::default()))
            }
        };
        let (search, dots) = match &configured {
            Ok((config, options)) => (config.search().iter().chain(config.domain()).cloned().collect(), options.ndots),
            Err(_) => (Vec::new(), 1),
        };
        let resolver = configured
            .and_then(|(config, read)| {
                let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                *builder.options_mut() = with_ours(read);
                builder.build()
            })
            .map_err(|error| format!("{}: {error}", files.servers.display()));
        Self { hosts, search, dots, resolver }
    }

    /// The addresses in `/etc/hosts`. A name in it is not looked up elsewhere.
    pub(crate) fn of_hosts(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::AAAA, RecordType::A].into_iter().filter_map(of);
        found.flat_map(|found| crate::answer::addresses(&found).collect::<Vec<_>>()).collect()
    }

    /// The absolute names to try for this name, in order (resolv.conf(5)).
    pub(crate) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() || name.is_localhost() {
            return vec![absolute];
        }
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = searched.collect();
        let at = if usize::from(name.num_labels()) > self.dots { 0 } else { candidates.len() };
        candidates.insert(at, absolute);
        candidates
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// Adapts the options: answers are cached, and hosts are looked up, before the resolver is asked.
fn with_ours(mut options: ResolverOpts) -> ResolverOpts {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = OPEN_QUESTIONS;
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(hosts: &str, servers: &str) -> System {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { hosts: folder.path().join("hosts"), servers: folder.path().join("servers") };
        fs::write(&files.hosts, hosts).unwrap();
        fs::write(&files.servers, servers).unwrap();
        System::read(&files, &[])
    }

    fn candidates(system: &System, name: &str) -> Vec<String> {
        system.candidates(&Name::from_ascii(name).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn search_lists_are_kept_to() {
        let plain = system("", "nameserver 127.0.0.1\nsearch a.test b.test\n");
        assert_eq!(candidates(&plain, "x"), ["x.a.test.", "x.b.test.", "x."]);
        assert_eq!(candidates(&plain, "x.y"), ["x.y.", "x.y.a.test.", "x.y.b.test."]);
        assert_eq!(candidates(&plain, "x.y."), ["x.y."]);
        assert_eq!(candidates(&plain, "localhost"), ["localhost."]);
        let cluster = system("", "nameserver 127.0.0.1\nsearch ns.svc svc\noptions ndots:5\n");
        assert_eq!(candidates(&cluster, "db.ns"), ["db.ns.ns.svc.", "db.ns.svc.", "db.ns."]);
        assert!(plain.resolver.is_ok() && cluster.resolver.is_ok());
    }

    #[tokio::test]
    async fn without_servers_hosts_still_hold() {
        let alone = system("10.0.0.5 db db.test # ours\nfd00::5 db\n", "");
        let of = |name| alone.of_hosts(&Name::from_ascii(name).unwrap());
        assert_eq!(of("db"), ["fd00::5".parse::<IpAddr>().unwrap(), "10.0.0.5".parse().unwrap()]);
        assert_eq!(of("DB.test"), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert!(of("other").is_empty());
        assert!(alone.resolver.is_err_and(|error| error.contains("servers")));
    }
}
