package server

import (
	"fmt"
	"strings"

	"github.com/superd/superd/config"
	"github.com/superd/superd/rpc"
	"github.com/superd/superd/signals"
	"github.com/superd/superd/supervisor"
	"github.com/superd/superd/supervisor/core"
)

// poolConfig is a pool's configuration on the wire; values of env, which may be
// secrets, only if they are for the peer to see.
func poolConfig(snap *supervisor.Snapshot, p *core.Pool, showEnv bool) rpc.PoolConfig {
	out := rpc.PoolConfig{Pool: p.Name, File: snap.Info.ConfigFile, Count: p.Count, Scaled: p.Override != nil, EnvHidden: !showEnv}
	if c := p.Config; c != nil {
		out.Config = poolKeys(c)
		out.Settings = describe(c, showEnv)
		for name, value := range c.Env {
			out.Config.Env[name] = nil
			if showEnv {
				out.Config.Env[name] = &value
			}
		}
	}
	return out
}

func describe(c *config.Pool, showEnv bool) []rpc.Setting {
	list := []rpc.Setting{}
	for _, d := range c.Describe() {
		if strings.HasPrefix(d.Key, "env.") && !showEnv {
			d.Value = ""
		}
		list = append(list, rpc.Setting{Key: d.Key, Value: rpc.Text(d.Value), Source: d.Source})
	}
	return list
}

func poolKeys(c *config.Pool) rpc.PoolKeys {
	return rpc.PoolKeys{
		Command: list(c.Command), Count: c.Count, Groups: list(c.Groups), Directory: c.Directory,
		User: rpc.Text(c.User), Group: rpc.Text(c.Group), Umask: fmt.Sprintf("%03o", c.Umask.Perm()),
		Env: map[string]*string{}, EnvFile: envFiles(c.EnvFiles), InheritEnv: list(c.InheritEnv),
		Stop: list(c.Stop.Strings()), Drain: list(c.Drain.Strings()),
		SignalScope: string(c.SignalScope), KillScope: string(c.KillScope),
		SuccessExit: successExit(c.SuccessExit), Forward: forward(c.Forward),
		Autostart: c.Autostart, After: list(c.After), AfterTimeout: rpc.SecondsOf(c.AfterTimeout), Essential: c.Essential,
		Restart: rpc.RestartKeys{
			On: string(c.Restart.On), Attempts: c.Restart.Attempts, Interval: rpc.SecondsOf(c.Restart.Interval),
			Delay: rpc.SecondsOf(c.Restart.Delay), MaxDelay: rpc.SecondsOf(c.Restart.MaxDelay),
			Jitter: c.Restart.Jitter, Mode: string(c.Restart.Mode),
		},
		Update: rpc.UpdateKeys{
			MaxParallel: c.Update.MaxParallel, MinHealthyTime: rpc.SecondsOf(c.Update.MinHealthyTime),
			HealthyDeadline: rpc.SecondsOf(c.Update.HealthyDeadline), ProgressDeadline: rpc.SecondsOf(c.Update.ProgressDeadline),
			AutoRevert: c.Update.AutoRevert,
		},
		Log: rpc.LogKeys{
			Target: string(c.Log.Target), MaxSize: c.Log.MaxSize, Keep: c.Log.Keep, Compress: c.Log.Compress,
			Stderr: either(c.Log.SeparateStderr, "separate", "merge"), OnFull: either(c.Log.BlockOnFull, "block", "drop"),
		},
		Limits: rpc.LimitKeys{
			NoFile: c.Limits.NoFile, NProc: c.Limits.NProc, Core: c.Limits.Core,
			Nice: c.Limits.Nice, OOMScoreAdj: c.Limits.OOMScoreAdj,
		},
		Operators: list(c.Operators), Viewers: list(c.Viewers),
	}
}

func envFiles(files []config.EnvFile) []string {
	out := make([]string, 0, len(files))
	for _, f := range files {
		out = append(out, either(f.Optional, "-", "")+f.Path)
	}
	return out
}

func successExit(matches []config.ExitMatch) []any {
	out := make([]any, 0, len(matches))
	for _, m := range matches {
		if m.Signal != 0 {
			out = append(out, signals.Name(m.Signal))
		} else {
			out = append(out, m.Code)
		}
	}
	return out
}

func forward(pairs []config.Forward) map[string]string {
	out := make(map[string]string, len(pairs))
	for _, f := range pairs {
		out[signals.Name(f.From)] = signals.Name(f.To)
	}
	return out
}

func either(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}
