package ads

// A kind is a type of resource as the protocol treats it; its value is its
// place in the order of an update.
type kind uint8

// The order in which resources are made; they are broken in the reverse order
// (xDS protocol, eventual consistency considerations).
const (
	secrets kind = iota // certificates, before what names them
	clusters
	endpoints
	listeners
	routes
	kinds // how many there are
)

var typeURLs = [kinds]string{secrets: SecretType, clusters: ClusterType, endpoints: EndpointType, listeners: ListenerType, routes: RouteType}

func kindOf(typeURL string) (kind, bool) {
	for k, url := range typeURLs {
		if url == typeURL {
			return kind(k), true
		}
	}
	return 0, false
}

func (k kind) url() string { return typeURLs[k] }

// whole says that a state-of-the-world response of the type always carries
// everything the client has, that what is not in it is gone, and that a client
// may subscribe to all there is.
func (k kind) whole() bool { return k == clusters || k == listeners }

// A Protocol is one of the two forms of the aggregated discovery service.
type Protocol uint8

// The protocols.
const (
	Delta Protocol = iota
	StateOfTheWorld
)

func (p Protocol) String() string {
	if p == StateOfTheWorld {
		return "sotw"
	}
	return "delta"
}
