// Package ads is the xDS server: one aggregated discovery stream a client, in
// the delta and in the state-of-the-world protocol, whatever makes the
// resources.
//
// What is served is a value. A [Resource] is marshalled and hashed once; a
// [Snapshot] is everything one kind of node may see at one moment;
// [Server.Publish] hands the server a function from node to snapshot. Each
// stream then sends its client the difference between the snapshot it sent last
// and the new one, as far as the client subscribed to it. Streams that send the
// same difference send the same bytes.
//
// A stream never queues updates. It has one flag, "something changed", and looks
// at the newest snapshot when its client has taken the last message; a slow
// client skips the snapshots in between.
//
// Within an update resources are made before they are broken: secrets, clusters,
// endpoints, listeners, routes, and only then, when the client has taken these,
// what no longer exists, in the reverse order.
package ads
