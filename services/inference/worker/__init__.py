"""One worker: claims what its engine can take, publishes each step, keeps its leases, hears cancels.

Everything here runs on one event loop, which owns every Run. The engine has a thread of its own.

    Intake ── claimed ──> Runs ── admit, cancel ──> EngineLoop (thread)
      Publisher <── sealed items ──┘ <── outputs ── Handover ──┘
    Leases, Cancels, deadlines: end or drop a run
"""
