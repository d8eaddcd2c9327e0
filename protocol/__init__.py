"""What is on the wire: messages, codec, ids, resources and errors. Imports nothing of ours."""
