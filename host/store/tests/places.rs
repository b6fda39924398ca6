//! The same promises from every place: memory, a file, and a Redis server that the test starts.

#[path = "../../../tests/support/ports.rs"]
mod ports;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "support/redis.rs"]
mod redis;

use std::path::Path;
use std::time::Duration;

use roadrunner_names::{self as names, Resolver};
use roadrunner_store::{Bill, Bucket, Budget, Error, Limits, OpenError, Owner, Place, Store};
use tempfile::TempDir;

use self::redis::Redis;

const LIMITS: Limits = Limits { key: 32, value: 1000, operations: 8, timeout: Duration::from_secs(10) };

const MOST: u64 = 100_000;

fn memory() -> Store {
    Store::open("memory", &Place::Memory { most: MOST }).unwrap()
}

fn file(path: &Path) -> Result<Store, OpenError> {
    Store::open("file", &Place::File { path: path.into(), most: MOST })
}

async fn server(test: &str) -> Option<Redis> {
    let redis = Redis::start(test, &["--requirepass", "hunter2"])?;
    assert!(redis.is_up().await, "redis-server does not listen");
    Some(redis)
}

fn store_of(redis: &Redis, password: &str) -> Store {
    let password = Some(std::sync::Arc::new(password.to_owned().into()));
    let names = Resolver::new(names::Settings::default()).own();
    Store::open("redis", &Place::Redis { url: redis.url(), password, names }).unwrap()
}

async fn all_keys(bucket: &Bucket, prefix: &str, limit: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = bucket.keys(prefix, cursor.as_deref(), limit).await.unwrap();
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            keys.sort();
            keys.dedup();
            return keys;
        }
    }
}

async fn promises(store: Store) {
    let one = Bucket::new(store.clone(), "component/one", LIMITS);
    let two = Bucket::new(store.clone(), "component/one-more", LIMITS);
    assert_eq!(one.get("a").await, Ok(None));
    one.set("a", b"1\0\xff".to_vec(), None).await.unwrap();
    assert_eq!(one.get("a").await, Ok(Some(b"1\0\xff".to_vec())));
    assert_eq!(two.get("a").await, Ok(None), "namespaces are apart");
    assert_eq!((one.exists("a").await, one.exists("b").await), (Ok(true), Ok(false)));
    assert_eq!((one.delete("a").await, one.delete("a").await), (Ok(true), Ok(false)));
    one.set("empty", Vec::new(), None).await.unwrap();
    assert_eq!(one.get("empty").await, Ok(Some(Vec::new())));

    assert_eq!(one.set_if("c", None, b"x".to_vec(), None).await, Ok(true));
    assert_eq!(one.set_if("c", None, b"y".to_vec(), None).await, Ok(false));
    assert_eq!(one.set_if("c", Some(b"z".to_vec()), b"y".to_vec(), None).await, Ok(false));
    assert_eq!(one.set_if("c", Some(b"x".to_vec()), b"y".to_vec(), None).await, Ok(true));
    assert_eq!(one.get("c").await, Ok(Some(b"y".to_vec())));
    assert_eq!(one.set_if("none", Some(Vec::new()), b"y".to_vec(), None).await, Ok(false), "nothing is not empty");

    assert_eq!((one.increment("n", 5).await, one.increment("n", -7).await), (Ok(5), Ok(-2)));
    one.set("n", i64::MAX.to_string().into_bytes(), None).await.unwrap();
    assert!(matches!(one.increment("n", 1).await, Err(Error::NotANumber(_))));
    for wrong in ["x", "", "+1", "007", "9223372036854775808"] {
        one.set("w", wrong.into(), None).await.unwrap();
        assert!(matches!(one.increment("w", 1).await, Err(Error::NotANumber(_))), "{wrong:?}");
        assert_eq!(one.get("w").await, Ok(Some(wrong.into())), "what failed changed nothing");
    }

    one.set("t", b"x".to_vec(), Some(Duration::from_millis(300))).await.unwrap();
    one.set("u", b"1".to_vec(), Some(Duration::from_millis(300))).await.unwrap();
    one.set("v", b"x".to_vec(), Some(Duration::from_millis(300))).await.unwrap();
    assert_eq!(one.increment("u", 1).await, Ok(2));
    one.set("v", b"x".to_vec(), None).await.unwrap();
    assert_eq!(one.set_if("s", None, b"x".to_vec(), Some(Duration::from_millis(300))).await, Ok(true));
    tokio::time::sleep(Duration::from_millis(600)).await;
    for gone in ["t", "u", "s"] {
        assert_eq!((one.get(gone).await, one.exists(gone).await), (Ok(None), Ok(false)), "{gone}");
    }
    assert_eq!(one.get("v").await, Ok(Some(b"x".to_vec())), "a later value has no time to live");
    assert_eq!(one.set_if("t", None, b"y".to_vec(), None).await, Ok(true), "what has expired is not there");

    for index in 0..250 {
        one.set(&format!("k*{index:03}"), b"x".to_vec(), None).await.unwrap();
    }
    two.set("k*999", b"x".to_vec(), None).await.unwrap();
    let expected: Vec<_> = (0..250).map(|index| format!("k*{index:03}")).collect();
    assert_eq!(all_keys(&one, "k*", 40).await, expected);
    assert_eq!(all_keys(&one, "k*", 0).await, expected);
    assert_eq!(all_keys(&one, "k*00", 3).await.len(), 10);
    assert_eq!(all_keys(&two, "", 0).await, ["k*999"]);

    let long = "k".repeat(33);
    assert_eq!(one.get(&long).await, Err(Error::KeyTooLong(32)));
    assert_eq!(one.keys("", Some(&long), 0).await, Err(Error::KeyTooLong(32)));
    assert_eq!(one.set("l", vec![0; 1001], None).await, Err(Error::ValueTooLong(1000)));
    one.set("l", vec![0; 1000], None).await.unwrap();
    let narrow = Bucket::new(store.clone(), "component/one", Limits { value: 999, ..LIMITS });
    assert_eq!(narrow.get("l").await, Err(Error::ValueTooLong(999)), "also one from before");

    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let one = one.clone();
            tokio::spawn(async move { one.increment("sum", 1).await.unwrap() })
        })
        .collect();
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap());
    }
    sums.sort();
    assert_eq!(sums, (1..=50).collect::<Vec<_>>(), "each sum once");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_them() {
    promises(memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = file(&path).unwrap();
    promises(store.clone()).await;
    let bytes = store.bytes();
    assert!(matches!(file(&path), Err(OpenError::InUse(..))));
    drop(store);
    let again = file(&path).unwrap();
    assert_eq!(again.bytes(), bytes, "the account survives");
    let one = Bucket::new(again, "component/one", LIMITS);
    assert_eq!(one.get("sum").await, Ok(Some(b"50".to_vec())));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_them() {
    let Some(redis) = server("redis_keeps_them").await else { return };
    promises(store_of(&redis, "hunter2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_fails_and_is_not_repeated() {
    let Some(redis) = server("a_wrong_password_fails_and_is_not_repeated").await else { return };
    let store = store_of(&redis, "swordfish");
    assert!(!format!("{store:?}").contains("swordfish"), "{store:?}");
    let bucket = Bucket::new(store, "component/one", LIMITS);
    let error = bucket.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }) && !error.to_string().contains("swordfish"), "{error}");
}

#[tokio::test]
async fn a_full_store_takes_no_more_and_gives_room_back() {
    let store = memory();
    let bucket = Bucket::new(store.clone(), "component/one", LIMITS);
    let mut count = 0;
    let full = loop {
        match bucket.set(&format!("{count}"), vec![0; 1000], None).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::StoreFull(MOST));
    assert!((90..100).contains(&count), "{count} values of 1000 bytes in {MOST}");
    assert!(store.bytes().unwrap() <= MOST);
    bucket.set("0", vec![0; 10], None).await.unwrap();
    assert!(bucket.delete("1").await.unwrap());
    bucket.set("new", vec![0; 1000], None).await.unwrap();
    store.set_most(MOST * 2);
    for more in 0..50 {
        bucket.set(&format!("more-{more}"), vec![0; 1000], None).await.unwrap();
    }
    for key in all_keys(&bucket, "", 0).await {
        bucket.delete(&key).await.unwrap();
    }
    assert_eq!(store.bytes(), Some(0));
}

#[tokio::test]
async fn what_has_expired_gives_its_room_back_by_itself() {
    let store = memory();
    let bucket = Bucket::new(store.clone(), "component/one", LIMITS);
    for index in 0..90 {
        bucket.set(&format!("{index}"), vec![0; 1000], Some(Duration::from_millis(100))).await.unwrap();
    }
    for _ in 0..100 {
        if store.bytes() == Some(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} bytes are still there", store.bytes());
}

/// Two namespaces in one store and one in another, and a fourth outside the budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_namespaces_and_stores() {
    const SPENT: Result<(), Error> = Err(Error::BudgetSpent(5000));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let (stores, named) = ([memory(), file(&path).unwrap()], ["tenant/one", "component/one"]);
    let budget = |stores: &[Store; 2]| {
        let [memory, file] = stores;
        let namespaces = [(memory, named[0]), (memory, named[1]), (file, named[0]), (file, named[0])];
        Budget::new(Some(5000), namespaces)
    };
    let bucket = |stores: &[Store; 2], store: usize, namespace: &str, budget: &Budget| {
        let owner = Owner { budget: Some(budget.clone()), ..Owner::default() };
        Bucket::of(owner, stores[store].clone(), namespace, LIMITS)
    };
    let all = budget(&stores);
    let [one, two, three] =
        [(0, named[0]), (0, named[1]), (1, named[0])].map(|(store, name)| bucket(&stores, store, name, &all));
    let apart = Bucket::new(stores[0].clone(), "component/other", LIMITS);
    for index in 0..50 {
        apart.set(&format!("{index}"), vec![0; 1000], None).await.unwrap();
    }
    let entry = 1000 + 64 + 1;
    for bucket in [&one, &two, &three] {
        bucket.set("a", vec![0; 1000], None).await.unwrap();
    }
    let prefixes = 2 * (named[0].len() as u64 + 1) + named[1].len() as u64 + 1;
    assert_eq!(all.bytes(), 3 * entry + prefixes, "each byte once");
    one.set("b", vec![0; 1000], None).await.unwrap();
    for bucket in [&one, &two, &three] {
        assert_eq!(bucket.set("c", vec![0; 1000], None).await, SPENT);
        assert_eq!(bucket.set_if("c", None, vec![0; 1000], None).await, Err(Error::BudgetSpent(5000)));
        assert_eq!(bucket.get("c").await, Ok(None), "nothing was added");
        bucket.set("a", vec![0; 1000], None).await.unwrap();
    }
    apart.set("more", vec![0; 1000], None).await.unwrap();
    assert!(one.delete("b").await.unwrap());
    three.set("b", vec![0; 1000], Some(Duration::from_millis(200))).await.unwrap();
    assert_eq!(two.set("b", vec![0; 1000], None).await, SPENT);
    // Expired entries give their room back.
    let mut given_back = false;
    for _ in 0..100 {
        given_back = two.set("b", vec![0; 1000], None).await.is_ok();
        if given_back {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(given_back);
    assert!(two.delete("b").await.unwrap());

    // Writers of both stores at once never exceed it, and no room is lost.
    let tasks: Vec<_> = (0..40)
        .map(|index| {
            let bucket = if index % 2 == 0 { one.clone() } else { three.clone() };
            tokio::spawn(async move { bucket.set(&format!("{index}"), vec![0; 250], None).await.is_ok() })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += u64::from(task.await.unwrap());
    }
    assert!((4..=5).contains(&taken) && all.bytes() <= 5000 && all.bytes() > 5000 - 400, "{taken}, {}", all.bytes());

    // The account of a file survives; data in memory is gone.
    let kept = all.bytes();
    drop((one, two, three, apart, all, stores));
    let stores = [memory(), file(&path).unwrap()];
    let again = budget(&stores);
    assert!(again.bytes() > entry && again.bytes() < kept, "{} of {kept}", again.bytes());
    let three = bucket(&stores, 1, named[0], &again);
    for key in all_keys(&three, "", 0).await {
        three.delete(&key).await.unwrap();
    }
    assert_eq!(again.bytes(), 0);
    assert_eq!(stores[1].bytes(), Some(0));
}

#[test]
fn what_is_no_store_is_not_touched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, "Dear reader,\n".repeat(1000)).unwrap();
    let error = file(&path).unwrap_err();
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 13_000);
    assert!(matches!(file(&folder.path().join("missing/store.db")), Err(OpenError::Io(..))));
}

#[tokio::test]
async fn a_bill_is_told_what_reads_and_writes_cost() {
    let cost = std::sync::Arc::new(std::sync::Mutex::new(Duration::ZERO));
    let told = cost.clone();
    let bill = Bill::new(move |used| *told.lock().unwrap() += used);
    let bucket = Bucket::of(Owner { bill: Some(bill), ..Owner::default() }, memory(), "component/one", LIMITS);
    for count in 0..50 {
        bucket.set(&format!("{count}"), vec![0; 1000], None).await.unwrap();
    }
    let writes = *cost.lock().unwrap();
    assert!(writes > Duration::from_micros(50), "{writes:?} for 50 transactions");
    for _ in 0..20 {
        all_keys(&bucket, "", 0).await;
    }
    assert!(*cost.lock().unwrap() > writes + Duration::from_micros(20), "reads cost, too");
}
