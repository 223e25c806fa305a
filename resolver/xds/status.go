package xds

import (
	"cmp"
	"slices"
	"time"
)

// A Status is what a Client believes at one moment, for debug pages. It is a value.
type Status struct {
	// State is "connected", "connecting", "waiting" (to try again), "idle" (nothing to ask for) or "closed".
	State string `json:"state"`
	// Server is the control server in use, or tried last.
	Server string `json:"server"`
	// Protocol is "delta" or "sotw"; empty unless connected.
	Protocol string `json:"protocol,omitempty"`
	// Since is when State was entered.
	Since time.Time `json:"since"`
	// Error is why the client is not connected; empty if it is.
	Error string `json:"error,omitempty"`
	// Node is the id the control servers know this process by.
	Node string `json:"node"`
	// Resources, by type in the order LDS, RDS, CDS, EDS, then by name.
	Resources []ResourceStatus `json:"resources,omitempty"`
}

// A ResourceStatus is what is known of one resource (CSDS ClientResourceStatus).
type ResourceStatus struct {
	Type    string `json:"type"` // "listener", "route", "cluster" or "endpoints"
	Name    string `json:"name"`
	State   State  `json:"state"`
	Version string `json:"version,omitempty"` // of what is in use; empty if nothing is
	// Error is the newest complaint; what is in use is older.
	Error string `json:"error,omitempty"`
	// Updated is when State or Version changed last.
	Updated time.Time `json:"updated"`
}

// A State is how far a resource got (CSDS ClientResourceStatus).
type State string

// The states of a resource.
const (
	Requested    State = "REQUESTED"      // no answer yet
	Acked        State = "ACKED"          // what was received last is in use
	Nacked       State = "NACKED"         // what was received last is refused
	DoesNotExist State = "DOES_NOT_EXIST" // the server says so, or did not answer in time
	Failed       State = "RECEIVED_ERROR" // the server could not make it (xDS resource_errors)
)

func (c *core) status() Status {
	s := Status{
		State:  c.link.state(),
		Server: c.link.server().uri,
		Since:  c.link.since,
		Node:   c.client.node.GetId(),
	}
	if c.link.err != nil {
		s.Error = c.link.err.Error()
	}
	if st := c.link.stream; st != nil && st.up {
		s.Protocol = st.protocol()
	}
	for k := range c.subs {
		from := len(s.Resources)
		for _, r := range c.subs[k].resources {
			rs := ResourceStatus{Type: r.kind.String(), Name: r.name, State: r.state, Updated: r.at}
			if r.content != nil {
				rs.Version = r.version
			}
			if r.err != nil {
				rs.Error = r.err.Error()
			}
			s.Resources = append(s.Resources, rs)
		}
		slices.SortFunc(s.Resources[from:], func(a, b ResourceStatus) int { return cmp.Compare(a.Name, b.Name) })
	}
	return s
}
