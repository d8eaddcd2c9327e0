"""What may whoever sends a request do with it, in words that people read?"""

from __future__ import annotations

from ..protocol import messages as m

WORDS: dict[type[m.Message], str] = {
    m.Submit: "submit tasks",
    m.Cancel: "cancel tasks",
    m.Retry: "submit tasks again",
    m.Logs: "read what tasks print",
    m.Prune: "remove ended tasks",
    m.AskTask: "reach into running tasks",
    m.FindStore: "bring files to the store or get them",
    m.TaskObjects: "get the files of tasks",
    m.References: "ask which objects tasks refer to",
    m.Watch: "wait for tasks",
    m.Events: "read events",
    m.States: "see where tasks stand",
    m.Resolve: "look tasks up",
    m.ListTasks: "list tasks",
    m.ShowTask: "look at tasks",
    m.ExportTasks: "export tasks",
    m.Explain: "ask why a task waits",
    m.ListNodes: "list nodes",
    m.Status: "see how the cluster is",
    m.ShowConfig: "read the configuration",
    m.ListConfigVersions: "read earlier configurations",
    m.CompareConfig: "compare configurations",
    m.ConfigState: "see who goes by which configuration",
    m.ChangeConfig: "change the configuration",
    m.ShowBatch: "look at batches",
    m.ListBatches: "list batches",
    m.Drain: "drain nodes",
    m.Undrain: "give drained nodes work again",
    m.DeclareLost: "declare nodes lost",
    m.ForgetNode: "forget nodes",
    m.ListGpus: "list GPUs",
    m.ListStats: "list what kinds of tasks need",
    m.ListHandlers: "list handlers",
    m.SwitchHandler: "disable or enable handlers",
    m.ReloadHandler: "have handlers loaded anew",
    m.CordonGpu: "cordon GPUs",
    m.UncordonGpu: "give cordoned GPUs work again",
    m.ListKeys: "list keys",
    m.ListAudit: "read the audit",
    m.ShowRecovery: "see what a restored journal is in doubt of",
    m.DecideRecovery: "decide what a restored journal is in doubt of",
    m.AllowKey: "admit keys",
    m.RevokeKey: "withdraw keys",
    m.Invite: "invite anybody",
    m.Enrol: "enrol a key",
    m.Register: "register a node",
}


def words_of(kind: type[m.Message]) -> str:
    """Say what a request does; what is no request of anybody is named as it is."""
    return WORDS.get(kind, f"send {kind.__name__}")
