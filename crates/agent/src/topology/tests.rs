use splashdam_core::World;
use splashdam_testkit::FakeWorld;

use super::*;
use crate::checked::fakes::checking;
use crate::status::Status;

fn topology() -> Topology {
    let world: Arc<dyn World> = Arc::new(FakeWorld::default());
    let around = Surroundings {
        ledger: Bookkeeper::new("a1".into(), world.clone()),
        world,
        registry: Registry::default(),
        board: Board::default(),
        grace: Duration::from_secs(1),
    };
    Topology::new("a1".into(), around)
}

impl Topology {
    async fn apply_text(&mut self, text: &str) {
        let checking = checking(text);
        let checked = checking.checked.expect("something is left");
        self.apply(checked.without(&checking.findings)).await;
    }

    fn status(&self, role: Role, name: &str) -> Option<Status> {
        let all = self.around.board.all();
        all.into_iter().find(|((r, n), _)| *r == role && **n == *name).map(|(_, status)| status)
    }
}

const SOME: &str = "\
a1.sources = r1 r2
a1.channels = c1
a1.sinks = k1 k2
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.sources.r2.type = seq
a1.sources.r2.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
a1.sinks.k2.type = null
a1.sinks.k2.channel = c1
a1.sinkgroups = g1
a1.sinkgroups.g1.sinks = k2
a1.sinkgroups.g1.processor.type = default
";

#[tokio::test(start_paused = true)]
async fn what_cannot_run_is_on_the_board_until_the_configuration_changes() {
    let mut topology = topology();
    let broken = format!(
        "{SOME}a1.sources.r2.batchSize = many\na1.sinkgroups.g1.processor.type = shut\n\
         a1.sources = r1 r2 r3\n"
    );
    topology.apply_text(&broken).await;
    let shown = [
        (Role::Source, "r2", "it is left out: "),
        (Role::Source, "r3", "it is left out: source `r3` is listed but not defined"),
        (Role::Sink, "k2", "sink group g1 cannot be started: it never opens"),
    ];
    for (role, name, why) in shown {
        let status = topology.status(role, name).expect("it is shown");
        assert_eq!(status.phase, Phase::Closed, "{name}");
        assert!(status.trouble.as_deref().unwrap_or_default().starts_with(why), "{status:?}");
    }
    assert!(topology.status(Role::Source, "r1").is_some_and(|status| status.trouble.is_none()));
    assert_eq!(topology.around.board.all().len(), 6);
    // Applied again it is no more and no less.
    topology.apply_text(&broken).await;
    assert_eq!(topology.around.board.all().len(), 6);
    topology.apply_text(SOME).await;
    let all = topology.around.board.all();
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all.iter().all(|(_, status)| status.trouble.is_none()), "{all:?}");
    topology.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_channels_are_needed_for_follows_the_configuration() {
    let mut topology = topology();
    let text = "\
a1.sources = r1
a1.channels = c1 c2 c9
a1.sinks = k1 k2 k9
a1.sources.r1.type = seq
a1.sources.r1.channels = c1 c2
a1.sources.r1.selector.optional = c2
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.channels.c9.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
a1.sinks.k1.deadLetter = c9
a1.sinks.k2.type = null
a1.sinks.k2.channel = c2
a1.sinks.k9.type = null
a1.sinks.k9.channel = c9
";
    let needs = |topology: &Topology| {
        ["c1", "c2", "c9"].map(|name| topology.status(Role::Channel, name).map(|s| s.need))
    };
    topology.apply_text(text).await;
    let want = [Need::Required, Need::Optional, Need::Nothing].map(Some);
    assert_eq!(needs(&topology), want);
    // The channels themselves stay as they are.
    topology.apply_text(&text.replace("optional = c2", "optional = c1")).await;
    let want = [Need::Optional, Need::Required, Need::Nothing].map(Some);
    assert_eq!(needs(&topology), want);
    topology.stop().await;
}
