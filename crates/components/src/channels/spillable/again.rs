//! The order anew, when the log was opened again after it had stopped: what was answered as failed
//! may be stored all the same, and what was being taken is there again, or gone.

use super::kept::{self, Held};
use super::order::{Order, Store, Ticket};
use super::{Inner, State};
use crate::channels::file::OpenedLog;

impl Inner {
    /// Has the order speak of the log as it is open now. Every use of the order begins so.
    pub(super) fn follow(&self, state: &mut State) {
        let Some(overflow) = &self.overflow else { return };
        let now = overflow.main.open_log();
        let Some(before) = state.log.take() else { return };
        if !now.is(&before) {
            let held = |log: &OpenedLog| -> Held {
                [overflow.main.untaken_in(log), overflow.kept.untaken_in(log)]
            };
            state.arrange_anew(&held(&before), &held(&now));
        }
        state.log = Some(now);
    }
}

impl State {
    /// Goes from what the log held to what it holds. Nobody writes to the old one any more, and all
    /// who asked it for something have been answered.
    fn arrange_anew(&mut self, before: &Held, now: &Held) {
        self.life += 1;
        let mut in_memory = Vec::new();
        for leased in self.leases.values_mut() {
            let store = leased.ticket.store;
            if store == Store::Memory {
                in_memory.push(&mut leased.ticket);
            } else {
                // The log has them again; the lease ends in an error, whatever becomes of it.
                let ticket = std::mem::replace(&mut leased.ticket, Ticket::of_nothing(store));
                self.order.put_back(ticket);
            }
        }
        in_memory.sort_unstable_by_key(|ticket| ticket.first());
        // What is leased from memory came before all that is left.
        let mut order = Order::default();
        for ticket in &in_memory {
            order.push(Store::Memory, ticket.events());
        }
        let runs: Vec<_> = self.order.runs().collect();
        order = kept::order_anew(order, &runs, before, now);
        for ticket in in_memory {
            *ticket = order.take(ticket.events());
        }
        self.order = order;
    }
}
