"""What stands at a site besides its rigs: meters and contactors over Modbus, and the file that names them."""
