"""Everything for clusters: compiling, resources, images, containers and clients of servers."""
