//! One conversation: its legs, who hears whom, what happens when one of them goes.
