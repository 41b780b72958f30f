//! What all parts of a device are together.

use std::cell::RefCell;
use std::time::Duration;

use super::*;
use crate::azure::keys::GroupKey;
use crate::azure::protocol::Protocol;
use crate::net::dial::{Endpoint, Network};
use crate::net::memory::MemoryNetwork;
use crate::record::{Recorder, Settings};
use crate::time::{Agenda, simulate};
use world::{HubRule, Key, Stop};

#[test]
fn the_task_of_a_device_is_small() {
    let size = simulate(|clock| async move {
        let settings = Settings { epoch: clock.now(), sends_from: Duration::ZERO };
        let world = Rc::new(World {
            agenda: Agenda::new(&clock).expect("simulated time needs no timer"),
            network: Network::Memory(MemoryNetwork::default()),
            recorder: RefCell::new(Recorder::new(1, settings)),
            stop: Stop::new(None),
            run_id: "00000000".into(),
            seed: 0,
            rendered: RefCell::default(),
            narrator: None,
            witness: None,
        });
        let endpoint = Endpoint { host: "dps".into(), port: 443 };
        let profile = Rc::new(Profile {
            population: 0,
            name: "sensors".into(),
            route: Route::Dps {
                endpoint,
                host: "dps".into(),
                id_scope: "0ne".into(),
                hubs: HubRule::default(),
            },
            provision: Protocol::Mqtt,
            connect: Protocol::Mqtt,
            habits: habits::Behave::Muster.habits(),
            token: habits::Behave::Muster.habits().token_life(None),
            skew: habits::Skew::None,
            keep_alive_s: 60,
            limits: Rc::new(life::Limits {
                register: Duration::from_secs(60),
                connect: Duration::from_secs(30),
                waits: habits::Waits::MUSTER,
                is_refused_for_good: false,
            }),
            send_deadline: Duration::from_secs(30),
            keep_connection: Duration::from_secs(60),
            sending: None,
            chores: two_way::Chores::default(),
            connects: true,
            hold: false,
        });
        let key = GroupKey::from_base64("c2l4dGVlbi1ieXRlcy1vay4=").expect("a key");
        let identity =
            Identity { registration_id: "device-0".into(), device_id: None, key: Key::Derived(Rc::new(key)) };
        std::mem::size_of_val(&live(world, profile, 0, identity, clock.now(), Rc::new(())))
    });
    // Thousands of these are alive at once; the calls to DPS and the opening of connections are boxed for this. With what the
    // runtime has of a task it has to fit 1.5 KiB: the allocator's next size is 1.75 KiB.
    assert!(size.is_ok_and(|size| size <= 1_240), "{size:?} bytes");
}
