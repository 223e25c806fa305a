// Package xds is a resolver that asks a control server over ADS, the aggregated
// discovery service of xDS.
//
// A [Client] keeps one ADS stream for the whole process, whatever the number of
// services. For a watched service it asks for a listener, the routes that names,
// their clusters and those clusters' endpoints (LDS, RDS, CDS, EDS), and reports a
// [resolver.Service] once every cluster that the routes name has resolved or
// failed (gRFC A74), so that no call sees half an update. Resources that services
// share are asked for once.
//
// # Protocol
//
// The stream is incremental (delta) unless the bootstrap lists the server feature
// "ads_sotw", or the server answers DeltaAggregatedResources with UNIMPLEMENTED;
// the client then speaks state-of-the-world with that server for the rest of its life.
// The client connects when there is something to ask for or to tell, and ends the
// stream when there no longer is.
//
// Of several servers the first that answers is used; when its stream breaks the
// search begins again at the first.
//
// # What is kept
//
// What was received stays in use (gRFC A88): when a newer version is bad, when the
// server takes a resource away, when it is gone itself. The server feature
// "fail_on_data_errors" makes the server's word that a resource is gone, or not for
// us, take effect; "ignore_resource_deletion" makes deletions silent, and wins over the former
// for them; "resource_timer_is_transient_error" doubles the time that a resource may stay
// unanswered, 15 s, and lets it count as a failure of the server rather than as
// the resource's absence.
//
// # Registration
//
// [Client.Serve] subscribes to a listener named after the address
// ("xds.istio.io/grpc/lds/inbound/10.0.0.1:8080"), which together with the
// node's metadata is what a control server registers the process by. Unsubscribing
// ends the registration; [Client.SetHealth] reports on the same stream, the way
// Istio's agent does.
package xds
