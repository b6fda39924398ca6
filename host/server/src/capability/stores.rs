//! The stores of a manifest, and each component's view of them: namespaces, limits, counters.
//!
//! In a store that is not shared, each component has a namespace of its own, `component/NAME`. In a shared store, the
//! components of a tenant have `tenant/NAME` together, and those without a tenant have `shared`. No other code makes
//! the names of namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result};
use roadrunner_account::Tenant;
use roadrunner_manifest::{self as manifest, ComponentName, Manifest, StoreName, StorePlace, TenantName};
use roadrunner_names::Resolver;
use roadrunner_sandbox::{self as sandbox, Secret, StoreAnswer, StoreError, StorePage};
use roadrunner_store::{Bill, Bucket, Budget, Error, Limits, Owner, Place, Store};
use zeroize::Zeroizing;

use super::provider::{Granted, Grantee, Opening, Provider};
use crate::access::Caller;
use crate::accounts;
use crate::metrics::Text;

/// The operations, as the metrics name them.
const OPERATIONS: [&str; 7] = ["delete", "exists", "get", "increment", "keys", "set", "set-if"];

/// The outcomes of operations, as the metrics name them.
const OUTCOMES: [&str; 6] = ["failed", "ok", "overloaded", "refused", "timeout", "too-large"];

/// The stores of a manifest.
pub(crate) struct Stores {
    /// The stores that are open, by name; none where a manifest is only checked.
    open: OpenStores,
    /// The tenants' budgets in the stores, by tenant.
    budgets: BTreeMap<String, Budget>,
    /// The components' views of the stores, by component and store.
    views: BTreeMap<String, Views>,
}

type OpenStores = BTreeMap<String, Arc<OpenStore>>;
type Views = BTreeMap<String, Arc<View>>;

impl Provider for Stores {
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
        let open = match opening.opens_stores {
            true => open(opening, before.map_or(&OpenStores::new(), |before| &before.open))?,
            false => OpenStores::new(),
        };
        let budgets = budgets(opening.manifest, &open, before);
        let components = opening.manifest.components.iter();
        let view = |(name, settings)| {
            let known = before.and_then(|before| before.views.get(ComponentName::as_str(name)));
            (name.to_string(), views(opening, Grantee { name, settings }, &open, &budgets, known))
        };
        let views = components.map(view).collect();
        Ok(Self { open, budgets, views })
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        let views = self.views.get(component.name.as_str()).into_iter().flatten();
        granted.grants.stores =
            views.map(|(name, view)| (name.clone(), view.clone() as Arc<dyn sandbox::Bucket>)).collect();
    }

    /// Shows the tenants' use of stores, and the stores.
    fn show(&self, caller: &Caller, text: &mut Text) {
        text.family("roadrunner_tenant_store_bytes", "gauge", "Keys and values in stores of this host.");
        for (tenant, budget) in self.budgets.iter().filter(|(tenant, _)| caller.sees(Some(tenant))) {
            text.sample(&[("tenant", tenant)], budget.bytes());
        }
        if caller.tenant().is_some() {
            return;
        }
        text.family(
            "roadrunner_store_operations_total",
            "counter",
            "Operations of guests on stores, by how they ended.",
        );
        for (name, store) in &self.open {
            for (operation, outcome, count) in store.counts() {
                text.sample(&[("store", name), ("operation", operation), ("outcome", outcome)], count);
            }
        }
        text.family(
            "roadrunner_store_bytes",
            "gauge",
            "Keys and values in stores of this host, as `size` counts them.",
        );
        for (name, store) in &self.open {
            if let Some(bytes) = store.store.bytes() {
                text.sample(&[("store", name)], bytes);
            }
        }
    }
}

/// A store of the manifest, open.
#[derive(Debug)]
struct OpenStore {
    store: Store,
    place: StorePlace,
    /// The password for the store.
    password: Option<Secret>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts([[AtomicU64; OUTCOMES.len()]; OPERATIONS.len()]);

impl OpenStore {
    /// The number of operations, by operation and outcome.
    fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        OPERATIONS.iter().zip(&self.counts.0).flat_map(|(operation, row)| {
            OUTCOMES.iter().zip(row).map(move |(outcome, count)| (*operation, *outcome, count.load(Relaxed)))
        })
    }

    /// Whether the store is at the place that another manifest names.
    fn is_at(&self, place: &StorePlace, password: Option<&Secret>) -> bool {
        let same_place = match (&self.place, place) {
            (StorePlace::File { path, .. }, StorePlace::File { path: other, .. }) => path == other,
            (StorePlace::Memory { .. }, StorePlace::Memory { .. }) => true,
            (StorePlace::Redis { url, .. }, StorePlace::Redis { url: other, .. }) => url == other,
            _ => false,
        };
        same_place && self.password.as_ref().map(Secret::expose) == password.map(Secret::expose)
    }
}

/// Opens the stores of a manifest. Stores that are open already stay so, and take new sizes.
fn open(opening: &Opening<'_>, before: &OpenStores) -> Result<OpenStores> {
    let Opening { manifest, secrets, names, .. } = opening;
    let open = |name: &str, place: &StorePlace| {
        let password = match place {
            StorePlace::Redis { password: Some(password), .. } => secrets.get(password.as_str()).cloned(),
            _ => None,
        };
        if let Some(known) = before.get(name).filter(|known| known.is_at(place, password.as_ref())) {
            if let StorePlace::File { size, .. } | StorePlace::Memory { size } = place {
                known.store.set_most(*size);
            }
            return Ok((name.to_owned(), known.clone()));
        }
        let store = Store::open(name, &place_of(place, password.as_ref(), names)?)?;
        let open = OpenStore { store, place: place.clone(), password, counts: Arc::default() };
        Ok((name.to_owned(), Arc::new(open)))
    };
    manifest.stores.iter().map(|(name, store)| open(name.as_str(), &store.place)).collect()
}

fn place_of(place: &StorePlace, password: Option<&Secret>, names: &Resolver) -> Result<Place> {
    Ok(match place {
        StorePlace::File { path, size } => Place::File { path: path.clone(), most: *size },
        StorePlace::Memory { size } => Place::Memory { most: *size },
        StorePlace::Redis { url, .. } => {
            let text = |secret: &Secret| {
                let text = std::str::from_utf8(secret.expose()).ok().context("the password of a store is not UTF-8")?;
                Ok::<_, anyhow::Error>(Arc::new(Zeroizing::new(text.to_owned())))
            };
            Place::Redis { url: url.clone(), password: password.map(text).transpose()?, names: names.own() }
        }
    })
}

/// The tenants' budgets in stores of this host. An unchanged budget stays.
fn budgets(manifest: &Manifest, stores: &OpenStores, before: Option<&Stores>) -> BTreeMap<String, Budget> {
    let budget = |(name, tenant): (&TenantName, &manifest::Tenant)| {
        let mut namespaces = Vec::new();
        for (component, settings) in &manifest.components {
            if settings.tenant.as_ref() == Some(name) {
                let granted = settings.stores.iter().filter_map(|name| manifest.stores.get_key_value(name));
                let open = granted.filter_map(|(name, store)| Some((stores.get(name.as_str())?, store)));
                namespaces.extend(open.map(|(open, store)| (open, namespace(component, settings, store))));
            }
        }
        let namespaces = namespaces.iter().map(|(open, namespace)| (&open.store, namespace.as_str()));
        let made = Budget::new(tenant.quota.store_bytes, namespaces);
        let known = before.and_then(|before| before.budgets.get(name.as_str())).filter(|known| known.is_like(&made));
        (name.to_string(), known.cloned().unwrap_or(made))
    };
    manifest.tenants.iter().map(budget).collect()
}

/// The namespace that a component has in a store.
fn namespace(component: &ComponentName, settings: &manifest::Component, store: &manifest::Store) -> String {
    match (store.shared, &settings.tenant) {
        (true, Some(tenant)) => format!("tenant/{tenant}"),
        (true, None) => "shared".to_owned(),
        (false, _) => format!("component/{component}"),
    }
}

/// A component's views of its stores, by store. An unchanged view stays, with its places.
fn views(
    opening: &Opening<'_>,
    component: Grantee<'_>,
    stores: &OpenStores,
    budgets: &BTreeMap<String, Budget>,
    before: Option<&Views>,
) -> Views {
    let Grantee { name: component, settings } = component;
    let owner = settings.tenant.as_ref().map(TenantName::as_str);
    let tenant = owner.and_then(|owner| opening.tenants.get(owner));
    let budget = owner.and_then(|owner| budgets.get(owner));
    let view = |name: &StoreName| {
        // No stores are open where a manifest is only checked.
        let (open, store) = (stores.get(name.as_str())?, opening.manifest.stores.get(name)?);
        let (namespace, limits) = (namespace(component, settings, store), limits(store));
        let known = before.and_then(|before| before.get(name.as_str()));
        let known = known.filter(|known| {
            Arc::ptr_eq(&known.open, open)
                && known.namespace == namespace
                && *known.bucket.limits() == limits
                && known.tenant.as_ref().map(Arc::as_ptr) == tenant.map(Arc::as_ptr)
                && match (known.bucket.budget(), budget) {
                    (Some(known), Some(budget)) => known.is_same(budget),
                    (known, budget) => known.is_none() && budget.is_none(),
                }
        });
        let view = known.cloned().unwrap_or_else(|| {
            let bill = tenant.cloned().map(|tenant| {
                Bill::new(move |used| tenant.cpu.spend(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX)))
            });
            let name = accounts::owner(component.as_str(), settings.tenant.as_ref());
            let owner = Owner { name, budget: budget.cloned(), bill };
            let bucket = Bucket::of(owner, open.store.clone(), &namespace, limits);
            Arc::new(View { open: open.clone(), namespace, bucket, tenant: tenant.cloned() })
        });
        Some((name.to_string(), view))
    };
    settings.stores.iter().filter_map(view).collect()
}

fn limits(store: &manifest::Store) -> Limits {
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        key: size(store.key_size),
        value: size(store.value_size),
        operations: store.operations as usize,
        timeout: store.timeout,
    }
}

/// A component's view of a store. All its routes share it.
#[derive(Debug)]
struct View {
    open: Arc<OpenStore>,
    namespace: String,
    bucket: Bucket,
    /// The tenant whose quota is charged.
    tenant: Option<Arc<Tenant>>,
}

impl View {
    /// Runs an operation, counts its outcome, and converts its error for the guest.
    fn counted<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> StoreAnswer<T> {
        let (counts, tenant) = (self.open.counts.clone(), self.tenant.clone());
        Box::pin(async move {
            let result = run.await;
            if let (Err(Error::BudgetSpent(_)), Some(tenant)) = (&result, &tenant) {
                tenant.store_bytes.count();
            }
            let outcome = result.as_ref().map_or_else(outcome, |_| "ok");
            let row = OPERATIONS.iter().zip(&counts.0).find(|(known, _)| **known == operation);
            let count = row.and_then(|(_, row)| OUTCOMES.iter().zip(row).find(|(known, _)| **known == outcome));
            if let Some((_, count)) = count {
                count.fetch_add(1, Relaxed);
            }
            result.map_err(told)
        })
    }
}

impl sandbox::Bucket for View {
    fn get(&self, key: String) -> StoreAnswer<Option<Vec<u8>>> {
        let bucket = self.bucket.clone();
        self.counted("get", async move { bucket.get(&key).await })
    }

    fn set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> StoreAnswer<()> {
        let bucket = self.bucket.clone();
        self.counted("set", async move { bucket.set(&key, value, ttl).await })
    }

    fn set_if(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> StoreAnswer<bool> {
        let bucket = self.bucket.clone();
        self.counted("set-if", async move { bucket.set_if(&key, expected, value, ttl).await })
    }

    fn delete(&self, key: String) -> StoreAnswer<bool> {
        let bucket = self.bucket.clone();
        self.counted("delete", async move { bucket.delete(&key).await })
    }

    fn exists(&self, key: String) -> StoreAnswer<bool> {
        let bucket = self.bucket.clone();
        self.counted("exists", async move { bucket.exists(&key).await })
    }

    fn increment(&self, key: String, delta: i64) -> StoreAnswer<i64> {
        let bucket = self.bucket.clone();
        self.counted("increment", async move { bucket.increment(&key, delta).await })
    }

    fn keys(&self, prefix: String, cursor: Option<String>, limit: u32) -> StoreAnswer<StorePage> {
        let bucket = self.bucket.clone();
        self.counted("keys", async move {
            let page = bucket.keys(&prefix, cursor.as_deref(), limit as usize).await?;
            Ok(StorePage { keys: page.keys, cursor: page.next })
        })
    }
}

fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Failed { .. } => "failed",
        Error::BudgetSpent(_) | Error::KeyTooLong(_) | Error::StoreFull(_) | Error::ValueTooLong(_) => "too-large",
        Error::NotANumber(_) | Error::WrongCursor => "refused",
        Error::Overloaded(_) => "overloaded",
        Error::Timeout => "timeout",
    }
}

/// Converts an error for the guest: the kind of the failure, and nothing about the host's network and files.
fn told(error: Error) -> StoreError {
    match error {
        Error::Failed { store, reason } => {
            tracing::debug!(%store, "an operation failed: {reason}");
            StoreError::Internal(format!("the store `{store}` failed"))
        }
        Error::BudgetSpent(limit) | Error::KeyTooLong(limit) | Error::StoreFull(limit) | Error::ValueTooLong(limit) => {
            StoreError::TooLarge(limit)
        }
        Error::Overloaded(limit) => {
            StoreError::Refused(format!("operations: {limit} of this component are under way already"))
        }
        error @ (Error::NotANumber(_) | Error::WrongCursor) => StoreError::Refused(error.to_string()),
        Error::Timeout => StoreError::Timeout,
    }
}
