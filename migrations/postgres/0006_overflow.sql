-- More words for how a wait ended.

ALTER TABLE queue_visits DROP CONSTRAINT queue_visits_ending_check;
ALTER TABLE queue_visits ADD CONSTRAINT queue_visits_ending_check
    CHECK (ending IN ('answered', 'abandoned', 'waited_too_long', 'full', 'transferred', 'engine_failed', 'callback_booked',
                      'closed', 'no_agents', 'estimate_too_long'));
