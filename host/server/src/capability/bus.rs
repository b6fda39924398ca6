//! The bus: topics of the sessions on this host and, over a broker, on others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use roadrunner_nats::Driver;
use roadrunner_sandbox::{self as sandbox, Topics};

use super::broker::{self, Nats};
use super::provider::{Granted, Grantee, Opening, Provider};
use crate::access::Caller;
use crate::accounts::owner;
use crate::metrics::Text;

/// The longest time that an ending host waits for the server to take its last messages.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// The bus of the host. It is opened at the start, and no reload changes it.
pub(crate) struct Bus {
    bus: sandbox::Bus,
    /// The link to the buses of other hosts; none where there is no link.
    broker: Option<Arc<Nats>>,
    /// The connection of the link, until it is driven.
    driver: Mutex<Option<Driver>>,
}

impl Bus {
    /// The connection of the link to other hosts; none where there is no link, or where it was taken before.
    pub(crate) fn driver(&self) -> Option<Driver> {
        self.driver.lock().take()
    }

    /// Waits a short time until other hosts have the last messages. False if some may be lost.
    pub(crate) async fn flush(&self) -> bool {
        match &self.broker {
            Some(broker) => broker.client().flush(LAST_MESSAGES).await,
            None => true,
        }
    }
}

impl Provider for Bus {
    fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
        if let Some(Self { bus, broker, .. }) = before {
            return Ok(Self { bus: bus.clone(), broker: broker.clone(), driver: Mutex::default() });
        }
        let (bus, settings) = (opening.sandbox.bus().clone(), &opening.manifest.bus);
        bus.set_max_payload(settings.payload);
        let join = |broker| broker::join(&bus, broker, settings.payload, opening.names.own());
        let (broker, driver) = settings.broker.as_ref().map(join).transpose()?.unzip();
        Ok(Self { bus, broker, driver: Mutex::new(driver) })
    }

    fn grant(&self, Grantee { name, settings }: Grantee<'_>, granted: &mut Granted) {
        // A name has no colon, so that no component's name can equal the owner of a tenant's topics.
        let owner = owner(name.as_str(), settings.tenant.as_ref()).into();
        granted.grants.events = Topics { bus: self.bus.clone(), owner };
    }

    fn show(&self, caller: &Caller, text: &mut Text) {
        if caller.tenant().is_some() {
            return;
        }
        text.gauge("roadrunner_bus_subscriptions", "Subscriptions to topics.", self.bus.subscriptions());
        text.counter(
            "roadrunner_bus_missed_total",
            "Messages that sessions missed, each once for every session, as far as they can be counted.",
            self.bus.missed(),
        );
        if let Some(broker) = &self.broker {
            broker.show(text);
        }
    }
}
